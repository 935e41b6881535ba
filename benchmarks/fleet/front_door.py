"""`FrontDoor`: one address for a fleet: HAProxy, as it is deployed, where this machine has it."""

import asyncio
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from onlooker.benchmarks.fleet.member import FleetMember
from onlooker.benchmarks.lone_server import HOST
from onlooker.clients.python.child import free_port

CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
MAX_SERVERS = 8
READY_S = 20.0


class FrontDoor:
    """Use as an async context manager. `servers` may be given anew while it runs."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port(0)
        self._processes: list[asyncio.subprocess.Process] = []

    @staticmethod
    def is_there() -> bool:
        """Whether this machine has HAProxy."""
        return shutil.which("haproxy") is not None

    @property
    def base(self) -> str:
        """The address."""
        return f"http://{HOST}:{self._port}"

    async def open(self, servers: Sequence[FleetMember]) -> None:
        """Stand before these servers from now on; connections that are open stay."""
        config = await asyncio.to_thread(self._write, servers)
        before = [str(one.pid) for one in self._processes if one.returncode is None]
        relieve = ("-sf", *before) if before else ()
        process = await asyncio.create_subprocess_exec(
            "haproxy", "-db", "-f", str(config), *relieve,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        self._processes.append(process)
        async with asyncio.timeout(READY_S):
            while True:
                if await self._answers():
                    return
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        """End it."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _answers(self) -> bool:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(HOST, self._port)
            writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
            line = await reader.readline()
            writer.close()
            return b" 200 " in line
        return False

    def _write(self, servers: Sequence[FleetMember]) -> Path:
        listed = "\n".join(f"    server {one.name} {HOST}:{one.port}" for one in servers)
        text = CONFIG.read_text().replace("bind :8000", f"bind {HOST}:{self._port}")
        text = text.replace("bind :8404", f"bind {HOST}:{free_port(0)}")
        text = re.sub(r"^    server-template .*$", listed, text, flags=re.MULTILINE)
        text = text.replace("/tmp/haproxy.sock", str(self._folder / "haproxy.sock"))  # noqa: S108
        path = self._folder / "haproxy.cfg"
        path.write_text(text)
        return path
