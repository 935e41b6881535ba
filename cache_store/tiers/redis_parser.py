"""Receives large Redis replies straight into their own buffer.

redis-py collects replies in a growing buffer and copies each out of it, at about a third of the
speed of the socket. This parser takes what is already buffered and receives the rest in place. It
builds on two classes that redis-py does not promise to keep (checked with redis 8.1).
"""

import io
import socket
from typing import Any

import numpy as np
from redis._parsers import _RESP2Parser
from redis._parsers.socket import SocketBuffer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.utils import SENTINEL

_MIN_DIRECT_BYTES = 16 * 1024
"""Below this redis-py's own way costs less than one more system call."""


class _DirectBuffer(SocketBuffer):
    _buffer: io.BytesIO
    _sock: socket.socket

    def read(self, length: int, timeout: float | object = SENTINEL) -> Any:
        """The next `length` bytes; bytes, or a memoryview when they are many."""
        wanted = length + 2  # the line end after the value
        if timeout is not SENTINEL or wanted - self.unread_bytes() < _MIN_DIRECT_BYTES:
            return super().read(length, timeout)
        view = np.empty(wanted, np.uint8).data
        received = self._buffer.readinto(view)
        try:
            while received < wanted:
                count = self._sock.recv_into(view[received:])
                if not count:
                    raise RedisConnectionError("the connection was closed in the middle of a reply")
                received += count
        except TimeoutError as error:
            raise RedisTimeoutError("a reply did not come in time") from error
        except OSError as error:
            raise RedisConnectionError(f"cannot read a reply: {error}") from error
        return view[:length]


class DirectParser(_RESP2Parser):
    """For `parser_class` of a redis-py connection; large values come as memoryviews."""

    def on_connect(self, connection: Any) -> None:
        super().on_connect(connection)  # type: ignore[no-untyped-call]  # redis-py
        assert self._sock is not None
        self._buffer = _DirectBuffer(self._sock, self.socket_read_size, connection.socket_timeout)
