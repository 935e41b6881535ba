"""Many cameras in one process, each a WebSocket. Run as a module.

It reads a `CameraLoad` as JSON from its standard input and writes a `Gathered` as JSON. It speaks
just enough of WebSocket to cost next to nothing, since it shares the machine with the server:
messages are put together beforehand, with a mask of zeros, and of what comes back only
acknowledgements are read.
"""

import asyncio
import json
import struct
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from onlooker.benchmarks.gateway.camera_pictures import messages_of
from onlooker.core.media import Codec
from onlooker.core.protocol.frame_header import FrameHeader
from onlooker.scheduler.simulator.outcome import percentile

HOST = "127.0.0.1"
PATIENCE_S = 5.0
"""How long acknowledgements are waited for at the end."""
NUM_CAMERAS = 4
"""Different cameras whose pictures the streams share."""
_HELLO = (
    "GET /v1/realtime HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    "Sec-WebSocket-Version: 13\r\n\r\n"
)
_CONNECTIONS_AT_A_TIME = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraLoad:
    """Who feeds the server, and what."""

    port: int
    num_streams: int
    fps: float
    warm_s: float
    """How long it feeds before what is measured."""
    seconds: float
    codec: int
    width: int
    height: int
    seed: int = 1
    moves: bool = True
    """Whether anything moves before the cameras."""


@dataclass(slots=True)
class Gathered:
    """What was sent and what became of it."""

    sent: int = 0
    acknowledged: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    ack_p50_ms: float | None = None
    ack_p99_ms: float | None = None
    """From sending a frame to reading what became of it."""
    late_p99_ms: float | None = None
    """How late the cameras themselves were in sending: what they could not keep up with."""
    client_cpu_ms: float = 0.0


class _Camera(asyncio.Protocol):
    """One connection: sends frames, hears what became of them."""

    def __init__(self, load: CameraLoad, messages: Sequence[bytes], fate: "_Fate") -> None:
        self._load, self._fate = load, fate
        self._messages = messages
        self._unread = bytearray()
        self._is_open = False
        self._sent_at_s: dict[int, float] = {}
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(_HELLO.format(host=HOST, port=self._load.port).encode())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the server hung up"))

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if not self._is_open:
            end = self._unread.find(b"\r\n\r\n")
            if end < 0:
                return
            if b" 101 " not in self._unread[:64]:
                self.opened.set_exception(ConnectionError(bytes(self._unread[:200]).decode()))
                return
            del self._unread[: end + 4]
            self._is_open = True
            self.opened.set_result(None)
        while (text := self._next_text()) is not None:
            if text.startswith(b'{"event_id":') and b'"type":"input_video.ack"' in text[:120]:
                self._note(json.loads(text))

    def send(self, index: int, due_s: float, start_s: float) -> None:
        """Send frame `index`, which is due at `due_s`; the source began at `start_s`."""
        now_s = time.monotonic()
        self._sent_at_s[index] = now_s
        self._fate.late_s.append(now_s - due_s)
        self._fate.sent += 1
        payload = self._messages[index % len(self._messages)]
        header = FrameHeader(
            codec=Codec(self._load.codec), sequence=index, capture_us=int((due_s - start_s) * 1e6)
        )
        num_bytes = len(payload) + 20
        head = struct.pack("!BBQI", 0x82, 0xFF, num_bytes, 0)
        if num_bytes < 1 << 16:
            head = struct.pack("!BBHI", 0x82, 0xFE, num_bytes, 0)
        self._transport.writelines((head + header.pack(), payload))

    @property
    def num_open(self) -> int:
        return len(self._sent_at_s)

    def close(self) -> None:
        self._transport.abort()

    def _next_text(self) -> bytes | None:
        """The next whole text message; pings are answered, others passed over."""
        while len(self._unread) >= 2:
            kind, size, at = self._unread[0] & 15, self._unread[1] & 127, 2
            if size >= 126:
                width = 2 if size == 126 else 8
                at += width
                size = int.from_bytes(self._unread[2:at])
            if len(self._unread) < at + size:
                return None
            payload = bytes(self._unread[at : at + size])
            del self._unread[: at + size]
            if kind == 1:
                return payload
            if kind == 9:
                self._transport.write(bytes((0x8A, 0x80 | size, 0, 0, 0, 0)) + payload)
        return None

    def _note(self, ack: dict[str, object]) -> None:
        now_s = time.monotonic()
        kept, skipped, dropped = ack["kept"], ack["skipped"], ack["dropped"]
        assert isinstance(kept, list)
        assert isinstance(skipped, list)
        assert isinstance(dropped, list)
        for one in dropped:
            self._fate.dropped[one["reason"]] += 1
        for sequence in (*kept, *skipped, *(one["sequence"] for one in dropped)):
            if (sent_at_s := self._sent_at_s.pop(sequence, None)) is not None:
                self._fate.acknowledged += 1
                self._fate.ack_s.append(now_s - sent_at_s)


@dataclass(slots=True)
class _Fate:
    sent: int = 0
    acknowledged: int = 0
    ack_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


async def _run(load: CameraLoad) -> Gathered:
    cameras = [
        messages_of(
            Codec(load.codec), load.width, load.height, seed=load.seed + n, moves=load.moves
        )
        for n in range(min(NUM_CAMERAS, load.num_streams))
    ]
    fate, opening = _Fate(), asyncio.Semaphore(_CONNECTIONS_AT_A_TIME)
    loop = asyncio.get_running_loop()

    async def opened(number: int) -> _Camera:
        async with opening:
            _, camera = await loop.create_connection(
                lambda: _Camera(load, cameras[number % len(cameras)], fate), HOST, load.port
            )
            await camera.opened
            return camera

    streams = await asyncio.gather(*(opened(n) for n in range(load.num_streams)))
    num_warm, num_all = int(load.warm_s * load.fps), int(load.seconds * load.fps)
    start_s = time.monotonic() + 0.2
    await _feed(load, streams, range(num_warm), start_s)
    await _heard(streams)
    warm, fate.ack_s, fate.late_s = replace(fate, dropped=Counter(fate.dropped)), [], []
    await _tell("warm")
    cpu_s = time.process_time()
    pause_s = time.monotonic() + 0.2 - start_s - num_warm / load.fps
    await _feed(load, streams, range(num_warm, num_warm + num_all), start_s + max(0.0, pause_s))
    await _heard(streams)
    cpu_s = time.process_time() - cpu_s
    await _tell("sent")
    for one in streams:
        one.close()
    return Gathered(
        sent=fate.sent - warm.sent,
        acknowledged=fate.acknowledged - warm.acknowledged,
        dropped=dict(fate.dropped - warm.dropped),
        ack_p50_ms=_ms(percentile(fate.ack_s, 0.5)),
        ack_p99_ms=_ms(percentile(fate.ack_s, 0.99)),
        late_p99_ms=_ms(percentile(fate.late_s, 0.99)),
        client_cpu_ms=round(1000 * cpu_s, 1),
    )


async def _tell(what: str) -> None:
    """Say how far the cameras are, and wait until they are to go on."""
    print(what, flush=True)
    await asyncio.to_thread(sys.stdin.readline)


async def _heard(streams: Sequence[_Camera]) -> None:
    """Wait until everything is acknowledged, within reason."""
    until_s = time.monotonic() + PATIENCE_S
    while any(one.num_open for one in streams) and time.monotonic() < until_s:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def _feed(
    load: CameraLoad, streams: Sequence[_Camera], indices: range, start_s: float
) -> None:
    """Send these frames when they are due. Cameras are not in step, but evenly spread."""
    period_s = 1 / load.fps
    for index in indices:
        for number, stream in enumerate(streams):
            due_s = start_s + (index + number / len(streams)) * period_s
            if (early_s := due_s - time.monotonic()) > 0:
                await asyncio.sleep(early_s)
            elif number % 16 == 0:
                await asyncio.sleep(0)
            stream.send(index, due_s, start_s)


def _ms(value_s: float | None) -> float | None:
    return None if value_s is None else round(1000 * value_s, 1)


def main() -> None:
    """Run the load that is described on the standard input."""
    load = CameraLoad(**json.loads(sys.stdin.readline()))
    print(json.dumps(asdict(asyncio.run(_run(load)))), flush=True)


if __name__ == "__main__":
    main()
