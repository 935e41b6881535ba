import asyncio
import random
import struct
from collections.abc import Callable
from typing import Any, TypeGuard, cast

import pytest
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
    LISTEN,
    MAX_AT_ONCE,
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


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole frame of a client's, masked with ones that change nothing else."""
    mask = b"\x01\x02\x03\x04"
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    size = len(payload)
    long = bytes((0xFE,)) + size.to_bytes(2) if size > 125 else bytes((0x80 | size,))
    return bytes((opcode,)) + long + mask + masked


class Listener(Reader):
    """An app that is handed binary messages as they come in, and takes those it wants to."""

    def __init__(self, *, wants: Callable[[bytes], bool] = lambda message: True) -> None:
        super().__init__()
        self._wants = wants
        self.handed: list[bytes] = []
        self.heard: list[Any] = []
        self._is_listening = False

    def take(self, message: bytes) -> bool:
        if not self._is_listening or not self._wants(message):
            return False
        self.handed.append(message)
        self.heard.append(message)
        return True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        scope["extensions"][LISTEN](self.take)
        await send({"type": "websocket.accept"})
        while True:
            self._is_listening = True
            message = await receive()
            self._is_listening = False
            if message["type"] != "websocket.receive":
                return
            await asyncio.sleep(0)
            self.heard.append(message.get("text") or message["bytes"])


async def test_binary_messages_are_handed_over_as_they_come_in() -> None:
    app = Listener()
    protocol, _ = await connected(app)
    await until(lambda: app._is_listening)
    protocol.data_received(frame(0x82, b"one") + frame(0x82, b"two"))
    assert app.handed == [b"one", b"two"]
    assert protocol.queue.empty()
    await left(protocol, app)


async def test_only_so_many_are_handed_over_before_others_get_their_turn() -> None:
    app = Listener()
    protocol, _ = await connected(app)
    await until(lambda: app._is_listening)
    sent = [bytes((number,)) for number in range(3 * MAX_AT_ONCE)]
    protocol.data_received(b"".join(frame(0x82, one) for one in sent))
    assert app.handed == sent[:MAX_AT_ONCE]
    await until(lambda: app.heard == sent)
    await left(protocol, app)


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_the_pieces_the_app_hears_all_messages_in_their_order(seed: int) -> None:
    chance = random.Random(seed)
    app = Listener(wants=lambda message: chance.random() < 0.7)
    protocol, transport = await connected(app)
    await until(lambda: app._is_listening)
    sent: list[Any] = []
    wire = b""
    for number in range(60):
        payload = f"{number}-".encode() + bytes(chance.choice((0, 5, 200, 40_000)))
        match chance.randrange(5):
            case 0:
                sent.append(payload.decode())
                wire += frame(0x81, payload)
            case 1:
                sent.append(payload)
                at = chance.randrange(len(payload))
                wire += frame(0x02, payload[:at]) + frame(0x89, b"") + frame(0x80, payload[at:])
            case 2:
                wire += frame(0x89, b"ping")
                sent.append(payload)
                wire += frame(0x82, payload)
            case _:
                sent.append(payload)
                wire += frame(0x82, payload)
    while wire:
        size = chance.choice((1, 2, 3, 11, 300, 9_000, 70_000))
        protocol.data_received(wire[:size])
        wire = wire[size:]
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    await until(lambda: len(app.heard) == len(sent))
    assert app.heard == sent
    assert not transport.is_paused
    await left(protocol, app)


async def test_a_binary_message_over_the_limit_is_refused_as_any_other() -> None:
    app = Listener()
    protocol, transport = await connected(app)
    await until(lambda: app._is_listening)
    protocol.data_received(struct.pack("!BBQI", 0x82, 0xFF, protocol.config.ws_max_size + 1, 0))
    assert b"\x03\xf1" in transport.written  # 1009
    await left(protocol, app)


async def test_a_binary_message_that_is_begun_and_not_finished_is_waited_for_so_long() -> None:
    app = Listener()
    protocol, _ = await connected(app)
    await until(lambda: app._is_listening)
    whole = frame(0x82, b"a picture")
    for num_bytes in range(1, len(whole)):
        protocol.data_received(whole[:num_bytes])
        assert protocol._message_deadline._timer is not None
        protocol.data_received(whole[num_bytes:])
        assert protocol._message_deadline._timer is None
    assert app.handed == (len(whole) - 1) * [b"a picture"]
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
