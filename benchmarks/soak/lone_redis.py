"""`LoneRedis`: a real redis-server on a Unix socket, which can be made to fail."""

import asyncio
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import redis.asyncio
from redis.exceptions import RedisError

from onlooker.core.errors import ConfigError

READY_S = 20.0
POLL_S = 0.05


class LoneRedis:
    """Use as an async context manager; it listens on no port."""

    def __init__(self) -> None:
        if shutil.which("redis-server") is None:
            raise ConfigError("there is no redis-server on this machine; `make setup` installs one")

    async def __aenter__(self) -> "LoneRedis":
        # A Unix socket's path may have 107 characters at most.
        self._folder = tempfile.TemporaryDirectory(prefix="ol")
        self._socket = Path(self._folder.name) / "redis.sock"
        self._client = redis.asyncio.Redis(unix_socket_path=str(self._socket), socket_timeout=5.0)
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.kill()
        await self._client.aclose()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    async def start(self, *, is_empty: bool = True) -> None:
        """Begin empty, or with what `save` wrote. Raises TimeoutError where it does not start."""
        name = "none.rdb" if is_empty else "dump.rdb"
        self._process = await asyncio.create_subprocess_exec(
            "redis-server", "--port", "0", "--unixsocket", str(self._socket), "--save", "",
            "--appendonly", "no", "--dir", self._folder.name, "--dbfilename", name,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(READY_S):
            while True:
                if await self._answers():
                    return
                await asyncio.sleep(POLL_S)

    async def save(self) -> None:
        """Write all that it holds to its file."""
        await self._client.save()

    async def kill(self) -> None:
        """End it without warning. Idempotent."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    def hang(self) -> None:
        """It keeps its connections and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers again."""
        self._process.send_signal(signal.SIGCONT)

    async def refuse_writes(self) -> None:
        """From now on it is full."""
        await self._client.config_set("maxmemory-policy", "noeviction")
        await self._client.config_set("maxmemory", 1)

    async def take_writes(self) -> None:
        """It has room again."""
        await self._client.config_set("maxmemory", 0)

    async def is_known(self) -> bool:
        """Whether the server has looked at it since it was started, and left its mark."""
        with suppress(RedisError, OSError):
            return bool(await self._client.exists("onlooker:1:marker"))
        return False

    async def num_keys(self) -> int:
        """How many keys it holds; 0 where it does not answer."""
        with suppress(RedisError, OSError):
            return int(await self._client.dbsize())
        return 0

    async def _answers(self) -> bool:
        with suppress(RedisError, OSError):
            return bool(await self._client.ping())
        return False
