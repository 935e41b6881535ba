"""A server that says something at once and then sends a byte now and then, for ever."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

DRIP_S = 0.02
"""Between two bytes: far less than any limit of a single read."""


@contextmanager
def dripping(begin: bytes = b"", drop: bytes = b"x") -> Iterator[int]:
    """Its port on loopback. `begin` is sent at once, then `drop` again and again."""
    stopped = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(peer: socket.socket) -> None:
        with peer, suppress(OSError):
            peer.sendall(begin)
            while not stopped.wait(DRIP_S):
                peer.sendall(drop)

    def accept() -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(peer,), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (accepting, *threads):
            thread.join(5)
