"""`LoneServer`: a real server in a process of its own, on loopback, for a benchmark to mistreat."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import httpx

from onlooker.benchmarks.processes import Holdings, holdings_of
from onlooker.benchmarks.server_log import failures, num_failures
from onlooker.clients.python.child import free_port
from onlooker.core.errors import OnlookerError

HOST = "127.0.0.1"
STOP_S = 25.0
"""`drain_s` and `close_s` and a little."""
POLL_S = 0.1


class NoServer(OnlookerError):
    """The server did not start."""

    code = "server_died"


class LoneServer:
    """Started anew by `start` when it is gone; counts how often it had to be killed.

    Args:
        folder: for its log, and a folder for each start.
        settings: those of one start, which gets this folder for what it stores.
        arguments: of ``serve``, such as ``--mode fake``.
        command: what takes the place of ``serve``: from a port and assignments of settings, the
            module to run and its arguments.
        keys: as in ``server.api_keys``; empty for none.
        boot_s: how long it may take to be ready.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Callable[[Path], Mapping[str, object]],
        arguments: tuple[str, ...] = (),
        keys: str = "",
        boot_s: float = 60.0,
        command: Callable[[int, list[str]], tuple[str, ...]] | None = None,
    ) -> None:
        self._folder, self._settings, self._arguments = folder, settings, arguments
        self._command = command or self._serve
        self._keys, self._boot_s = keys, boot_s
        self._log = folder / "server.log"
        self._process: asyncio.subprocess.Process | None = None
        self._num_starts = 0
        self.port = 0
        self.num_killed = 0
        """Times that it had to be killed: it answered no more, or outlived SIGTERM."""

    @property
    def base(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

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
        settings = self._settings(self._folder / str(self._num_starts))
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m",
                *self._command(self.port, [f"{name}={value}" for name, value in settings.items()]),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "ONLOOKER_SERVER__API_KEYS": self._keys},
            )  # fmt: skip
        with suppress(TimeoutError):
            async with asyncio.timeout(self._boot_s):
                while self.is_alive():
                    if await self.is_ready():
                        return
                    await asyncio.sleep(POLL_S)
        await self.kill()
        raise NoServer(f"the server did not start: {self._log.read_text()[-500:]}")

    def _serve(self, port: int, assignments: list[str]) -> tuple[str, ...]:
        assigned = (f"--set={one}" for one in assignments)
        return "onlooker.server", "serve", "--port", str(port), *self._arguments, *assigned

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

    def failures(self, *, expected: str | None = None) -> list[str]:
        """Some of them, in full, without those that say `expected`."""
        with self._log.open(errors="replace") as lines:
            return failures(lines, expected=expected)

    async def metric(self, name: str) -> float:
        """A metric without labels."""
        async with httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
            text = (await client.get(f"{self.base}/metrics")).text
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        assert found is not None, f"no metric {name}"
        return float(found[1])

    async def is_ready(self) -> bool:
        """Whether it takes work now."""
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=5.0) as client:
                reply = await client.get(f"{self.base}/readyz")
        except httpx.TransportError:
            return False
        return reply.status_code == 200
