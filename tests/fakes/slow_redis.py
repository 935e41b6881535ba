"""A way to a Redis that takes its time: what is sent to it arrives late, or not until it is let."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

_CHUNK_BYTES = 1 << 16


@dataclass
class SlowRedis:
    """The way, and what it does with what is sent."""

    socket: Path
    """Where clients connect."""
    delay_s: float = 0.0
    """How late what is sent arrives; for benchmarks."""
    is_open: threading.Event = field(default_factory=threading.Event)
    """Set while anything arrives at all."""

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"


@contextmanager
def slow_redis(server: Path, folder: Path) -> Iterator[SlowRedis]:
    """A way to the Redis whose socket is `server`, open while the block runs."""
    way = SlowRedis(folder / "slow.sock")
    way.is_open.set()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(way.socket))
    listener.listen()
    peers: list[socket.socket] = []

    def carry(source: socket.socket, target: socket.socket, *, is_asking: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(_CHUNK_BYTES):
                if is_asking:
                    time.sleep(way.delay_s)
                    way.is_open.wait()
                target.sendall(piece)
        for peer in (source, target):
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                beyond = socket.socket(socket.AF_UNIX)
                beyond.connect(str(server))
                peers.extend((client, beyond))
                for ends, is_asking in (((client, beyond), True), ((beyond, client), False)):
                    threading.Thread(
                        target=carry, args=ends, kwargs={"is_asking": is_asking}, daemon=True
                    ).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield way
    finally:
        way.is_open.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for peer in peers:
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            peer.close()
