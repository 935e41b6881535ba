import asyncio
import struct
from typing import Any, TypeGuard, cast

from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from onlooker.core.clock import SystemClock
from onlooker.core.metrics import Metrics
from onlooker.server.config import ServerSection
from onlooker.server.lobby import Lobby
from onlooker.server.transport import (
    READ_AHEAD_BYTES,
    BoundedWebSocketProtocol,
    TransportLimits,
    protocols,
)
from tests.fakes.waiting import until

HELLO = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class QuietTransport(asyncio.Transport):
    """A socket whose other end is the test."""

    def __init__(self) -> None:
        super().__init__()
        self.num_pauses = 0
        self.is_paused = False
        self.written = b""

    def pause_reading(self) -> None:
        self.num_pauses += 1
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def abort(self) -> None: ...


class Reader:
    """An app that takes a message whenever it is told to."""

    def __init__(self) -> None:
        self.may_take = asyncio.Semaphore(0)
        self.taken: list[int] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await self.may_take.acquire()
            message = await receive()
            if message["type"] != "websocket.receive":
                return
            self.taken.append(len(message["bytes"]))


async def connected(app: Reader) -> tuple[BoundedWebSocketProtocol, QuietTransport]:
    section = ServerSection()
    lobby = Lobby(max_guests=9, max_per_address=9, clock=SystemClock(), metrics=Metrics())
    _, kind = protocols(TransportLimits.of(section), lobby)
    config = Config(cast(Any, app), log_config=None, ws_ping_interval=None, lifespan="off")
    config.load()
    protocol, transport = kind(config, ServerState(), {}), QuietTransport()
    protocol.connection_made(transport)
    lobby.enter(transport, "")
    protocol.data_received(HELLO)
    await until(lambda: b" 101 " in transport.written)
    return protocol, transport


def message(num_bytes: int) -> bytes:
    return struct.pack("!BBQI", 0x82, 0xFF, num_bytes, 0) + bytes(num_bytes)


async def left(protocol: BoundedWebSocketProtocol, app: Reader) -> None:
    """The peer goes."""
    protocol.connection_lost(None)
    app.may_take.release()
    await asyncio.gather(*protocol.tasks)


async def test_while_the_app_keeps_up_the_socket_is_never_told_to_wait() -> None:
    app = Reader()
    protocol, transport = await connected(app)
    for number in range(1, 6):
        protocol.data_received(message(number))
        app.may_take.release()
        await until(lambda number=number: len(app.taken) == number)  # type: ignore[misc]
    assert app.taken == [1, 2, 3, 4, 5]
    assert transport.num_pauses == 0
    await left(protocol, app)


async def test_the_socket_waits_when_two_messages_do_and_no_longer() -> None:
    app = Reader()
    protocol, transport = await connected(app)
    protocol.data_received(message(1))
    assert not transport.is_paused
    protocol.data_received(message(2))
    protocol.data_received(message(3))
    assert transport.is_paused
    assert protocol.queue.qsize() == 2
    for _ in range(3):
        app.may_take.release()
    await until(lambda: len(app.taken) == 3)
    assert not transport.is_paused
    await left(protocol, app)


async def test_the_socket_waits_for_one_large_message() -> None:
    app = Reader()
    protocol, transport = await connected(app)
    protocol.data_received(message(READ_AHEAD_BYTES + 1))
    assert transport.is_paused
    app.may_take.release()
    await until(lambda: len(app.taken) == 1)
    assert not transport.is_paused
    await left(protocol, app)


def texts_in(written: bytes) -> list[str]:
    """What a client makes of the frames after the upgrade."""
    reading = ClientProtocol(parse_uri("ws://a/"), state=State.OPEN, max_size=None)
    reading.receive_data(written.partition(b"\r\n\r\n")[2])
    return [bytes(frame.data).decode() for frame in reading.events_received() if is_text(frame)]


def is_text(event: Any) -> TypeGuard[Frame]:
    return isinstance(event, Frame) and event.opcode is Opcode.TEXT


async def test_texts_of_any_length_are_posted_as_a_client_reads_them() -> None:
    app = Reader()
    protocol, transport = await connected(app)
    texts = ["", "é" * 60, "x" * 126, "y" * 65_535, "z" * 65_536, "w" * 200_000]
    waiting = iter(texts)
    protocol.post(lambda: next(waiting, None))
    assert texts_in(transport.written) == texts
    await left(protocol, app)


async def test_nothing_is_posted_to_a_peer_that_does_not_read() -> None:
    app = Reader()
    protocol, transport = await connected(app)
    waiting = ["later", "now"]

    def take() -> str | None:
        protocol.pause_writing()
        return waiting.pop() if waiting else None

    protocol.post(take)
    assert texts_in(transport.written) == ["now", "later"]  # one write is begun and ended
    waiting = ["later"]
    protocol.post(lambda: waiting.pop() if waiting else None)
    assert waiting == ["later"]
    protocol.resume_writing()
    protocol.post(lambda: waiting.pop() if waiting else None)
    assert texts_in(transport.written) == ["now", "later", "later"]
    await left(protocol, app)


async def test_nothing_is_posted_after_the_end() -> None:
    app = Reader()
    protocol, transport = await connected(app)
    protocol.data_received(b"\x82\xff" + b"\xff" * 12)  # no message may be so long
    num_written = len(transport.written)
    protocol.post(lambda: "too late")
    assert len(transport.written) == num_written
    await left(protocol, app)
