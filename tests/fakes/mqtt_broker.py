"""A real mosquitto, a subscriber that notes what it is told, and a line to it that can be cut."""

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from tests.fakes.waiting import WAIT_S, until


def _program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        pytest.skip(f"no {name} on this machine; `make setup-test` installs one where it may")
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def broker(folder: Path, *lines: str, port: int | None = None) -> Iterator[int]:
    """Run a broker while the block runs; yields its port. `lines` of its configuration; without
    any everybody may do everything."""
    port = port or free_port()
    conf = folder / f"mosquitto-{port}.conf"
    allowed = lines or ("allow_anonymous true",)
    conf.write_text("\n".join((f"listener {port} 127.0.0.1", "user root", *allowed, "")))
    program = _program("mosquitto")
    process = subprocess.Popen(
        [program, "-c", str(conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _await_port(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(WAIT_S)


def _await_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), WAIT_S):
            return
    pytest.fail("mosquitto ended before it was ready")


@dataclass(slots=True)
class Told:
    """What a subscriber was told, oldest first."""

    messages: list[tuple[str, bytes, bool]] = field(default_factory=list)
    """Topic, value, and whether the broker had held it before."""

    @property
    def held(self) -> dict[str, bytes]:
        """What the broker holds now."""
        newest = {topic: value for topic, value, _ in self.messages}
        return {topic: value for topic, value in newest.items() if value}

    def json(self, topic: str) -> Any:
        """The newest value of a topic; empty where nothing is held."""
        return json.loads(self.held.get(topic, b"{}"))

    def all_of(self, topic: str) -> list[bytes]:
        """All values of a topic, but for deletions."""
        return [value for one, value, _ in self.messages if one == topic and value]

    async def until(self, topic: str) -> None:
        """Wait until the broker holds something there."""
        await until(lambda: topic in self.held)


@asynccontextmanager
async def subscribed(port: int, **options: Any) -> AsyncIterator[Told]:
    """Hear of everything while the block runs."""
    told = Told()

    async def listen(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            told.messages.append((message.topic.value, message.payload, message.retain))

    async with aiomqtt.Client("127.0.0.1", port, **options) as client:
        await client.subscribe("#", qos=2)
        task = asyncio.create_task(listen(client))
        try:
            yield told
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Line:
    """A line to a port that can be held up or cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.port = 0
        self.num_calls = 0
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def hold_up(self) -> None:
        """Pass nothing on."""
        self._flows.clear()

    def cut(self) -> None:
        """End all calls as a cable that breaks, and pass the next ones on."""
        for writer in self._writers:
            writer.transport.abort()
        self._flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_calls += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        ours = {writer, far_writer}
        self._writers |= ours
        pumps = [self._pump(reader, far_writer), self._pump(far_reader, writer)]
        try:
            await asyncio.gather(*pumps)
        finally:
            self._writers -= ours
            for one in ours:
                one.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    """A line to a port of this machine."""
    line = Line(port)
    server = await asyncio.start_server(line._serve, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        line.cut()
        server.close()


def make_user(path: Path, name: str, password: str) -> None:
    """Write a file of passwords."""
    subprocess.run(
        [_program("mosquitto_passwd"), "-b", "-c", str(path), name, password], check=True
    )
