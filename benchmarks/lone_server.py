"""`AttackedServer`: a real server process on loopback, with the scripted engine and a journal."""

import asyncio
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

import httpx

from onlooker.benchmarks.attacks.log import num_failures
from onlooker.benchmarks.attacks.processes import Holdings, holdings_of
from onlooker.benchmarks.attacks.sources import OPEN_TIMEOUT_S
from onlooker.benchmarks.attacks.target import HOST
from onlooker.clients.python.child import free_port
from onlooker.core.errors import OnlookerError

BOOT_S = 60.0
STOP_S = 25.0
"""`drain_s` and `close_s` and a little."""
POLL_S = 0.1
HONEST_KEY = "honest-tenants-key"
ATTACKER_KEY = "attackers-own-key"


class NoServer(OnlookerError):
    """The server that was to be attacked did not start."""

    code = "server_died"


class AttackedServer:
    """Started anew by `start` when it is gone; counts how often it died or had to be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "server.log"
        self._process: asyncio.subprocess.Process | None = None
        self._num_starts = 0
        self.port = 0
        self.num_killed = 0
        """Times that it had to be killed: it answered no more, or outlived SIGTERM."""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it, and wait until it is ready.

        Raises:
            NoServer: it ended, or was not ready in time.
        """
        self.port = free_port(0)
        self._num_starts += 1
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "onlooker.server", *self._arguments(),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "ONLOOKER_SERVER__API_KEYS": _keys()},
            )  # fmt: skip
        with suppress(TimeoutError):
            async with asyncio.timeout(BOOT_S):
                while self.is_alive():
                    if await self._is_ready():
                        return
                    await asyncio.sleep(POLL_S)
        await self.kill()
        raise NoServer(f"the server did not start: {self._log.read_text()[-500:]}")

    async def stop(self) -> None:
        """Ask it to stop; kill it where it does not in time, and count that."""
        assert self._process is not None
        if self.is_alive():
            self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_S):
                    await self._process.wait()
            except TimeoutError:
                self.num_killed += 1
        await self.kill()

    async def kill(self) -> None:
        """End it at once, with all that it started."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    def holdings(self) -> Holdings:
        """What the server and its children hold now."""
        return holdings_of(self.pid)

    def num_stack_traces(self) -> int:
        """Failures that its log tells of with a stack trace, since the first start."""
        with self._log.open(errors="replace") as lines:
            return num_failures(lines)

    async def metric(self, name: str) -> float:
        """A metric without labels."""
        async with httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
            text = (await client.get(f"http://{HOST}:{self.port}/metrics")).text
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        assert found is not None, f"no metric {name}"
        return float(found[1])

    def _arguments(self) -> list[str]:
        settings = {
            "cache_store.journal.path": self._folder / str(self._num_starts) / "journal",
            "cache_store.disk.path": self._folder / str(self._num_starts) / "disk",
            "server.ack_interval_s": 0.02,  # a finer measure of the honest tenant's delays
            "streams.fresh_wait_s": 0,
            "streams.sources.allow_private": "true",
            "streams.sources.open_timeout_s": OPEN_TIMEOUT_S,
        }
        assignments = [
            part for name, value in settings.items() for part in ("-s", f"{name}={value}")
        ]
        return ["serve", "--mode", "fake", "--port", str(self.port), *assignments]

    async def _is_ready(self) -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=5.0) as client:
                reply = await client.get(f"http://{HOST}:{self.port}/readyz")
        except httpx.TransportError:
            return False
        return reply.status_code == 200


def _keys() -> str:
    return f"honest:{HONEST_KEY},attacker:{ATTACKER_KEY}"
