"""The server as a child process: started, watched while it boots, stopped gently."""

import asyncio
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from onlooker.core.errors import OnlookerError
from onlooker.core.waiting import cancel

KEPT_LINES = 40
"""How many of the server's last lines of output are kept, to be shown when it dies."""
MAX_LINE_BYTES = 1 << 16
STOP_S = 30.0
"""How long the server may drain after SIGTERM before it is killed."""


class ServerDied(OnlookerError):
    """The server process ended by itself."""

    code = "server_died"


class ServerProcess:
    """``onlooker serve`` in the interpreter that runs here. Use as an async context manager."""

    def __init__(self, arguments: Sequence[str], on_line: Callable[[str], None]) -> None:
        self._arguments = list(arguments)
        self._on_line = on_line
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.last_lines: deque[str] = deque(maxlen=KEPT_LINES)

    async def __aenter__(self) -> "ServerProcess":
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from onlooker.server.cli import main; main()",
            "serve",
            *self._arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=MAX_LINE_BYTES,
            start_new_session=True,  # Ctrl-C reaches the demo, which stops the server in order
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *exc: object) -> None:
        process = self._process
        assert process is not None
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_S)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if self._reading is not None:
            await cancel(self._reading)

    async def died(self) -> ServerDied:
        """Wait until the process ends by itself."""
        assert self._process is not None
        status = await self._process.wait()
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=2.0)  # for its last lines
        return ServerDied(f"the server ended with status {status}")

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:  # a line over the limit; the rest of it follows as another
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            self.last_lines.append(text)
            self._on_line(text)


def free_port(wanted: int) -> int:
    """`wanted` if nothing listens there on this machine, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise ServerDied("no port is free on 127.0.0.1")
