"""`FleetMember`: one server of a fleet in a process of its own, to be killed and paused."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx

from onlooker.benchmarks.lone_server import HOST, NoServer
from onlooker.clients.python.child import free_port

BOOT_S = 120.0
STOP_S = 30.0
POLL_S = 0.1
KEY = "a-key-of-the-benchmark"


class FleetMember:
    """`start`, then `stop` or `kill`; may be started again under its name.

    Args:
        command: what runs it, after Python's own name; gets settings as ``NAME=VALUE``.
        flag: what stands before each setting, if anything.
        boot_s: how long it may take to be ready.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        command: tuple[str, ...],
        settings: Mapping[str, object],
        flag: str = "",
        boot_s: float = BOOT_S,
    ) -> None:
        self.name = name
        self._folder, self._command, self._flag = folder, command, flag
        self._boot_s = boot_s
        self.port = free_port(0)
        self._settings = {
            "server.port": self.port,
            "server.api_keys": KEY,
            "fleet.name": name,
            "fleet.url": self.base,
            **settings,
        }
        self._process: asyncio.subprocess.Process | None = None

    @property
    def base(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    async def start(self) -> None:
        """Start it, and wait until it is ready. Raises `NoServer`."""
        log = await asyncio.to_thread((self._folder / f"{self.name}.log").open, "ab")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *self._command,
                *(f"{self._flag}{name}={value}" for name, value in self._settings.items()),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "ONLOOKER_SERVER__API_KEYS": KEY},
            )  # fmt: skip
        with suppress(TimeoutError):
            async with asyncio.timeout(self._boot_s), httpx.AsyncClient(trust_env=False) as client:
                while self._process.returncode is None:
                    with suppress(httpx.TransportError):
                        if (await client.get(f"{self.base}/readyz")).status_code == 200:
                            return
                    await asyncio.sleep(POLL_S)
        await self.kill()
        raise NoServer(f"the server '{self.name}' did not start; its log is in {self._folder}")

    async def kill(self) -> None:
        """End it at once, with all that it started. Idempotent."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    def pause(self) -> None:
        """It keeps its connections and does nothing."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        """It does what it was about to."""
        self._send(signal.SIGCONT)

    async def stop(self) -> None:
        """Drain and end it."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self._process.wait()
        await self.kill()

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)
