"""A Redis that answers every command with the same words, for what a real one hardly says."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO


@dataclass
class RespServer:
    """What it says, and what it was asked."""

    reply: bytes
    """As it stands on the wire, without the end of the line; may be changed at any time."""
    port: int = 0
    num_connections: int = 0
    commands: list[str] = field(default_factory=list)
    """The first words of all commands, but those with which redis-py greets."""


@contextmanager
def resp_server(reply: bytes) -> Iterator[RespServer]:
    """One on loopback while the block runs."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = RespServer(reply, port=listener.getsockname()[1])
    peers: list[socket.socket] = []

    def serve(peer: socket.socket) -> None:
        with peer, peer.makefile("rb") as asked, suppress(OSError, ValueError):
            while head := asked.readline():
                words = [_word(asked) for _ in range(int(head[1:]))]
                name = words[0].decode().upper()
                if name == "CLIENT":
                    peer.sendall(b"+OK\r\n")
                else:
                    server.commands.append(name)
                    peer.sendall(server.reply + b"\r\n")

    def accept() -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                server.num_connections += 1
                peers.append(peer)
                threading.Thread(target=serve, args=(peer,), daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for peer in peers:
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)


def _word(asked: BinaryIO) -> bytes:
    size = int(asked.readline()[1:])
    return asked.read(size + 2)[:-2]
