"""Receives large Redis replies straight into their own buffer.

redis-py collects replies in a growing buffer and copies each out of it, as does hiredis, in C. This
parser takes what is already buffered and receives the rest in place. It builds on two classes that
redis-py does not promise to keep (checked with redis 8.1).

What it gains was measured with pipelined GETs over loopback, all parsers in turn in one run, on two
shared cores. The figures are medians of eleven rounds: time, and processor time of the client, as
multiples of those of this parser.

    size of a value      48 KiB        192 KiB       1 MiB         4 MiB         12 MiB
    hiredis 3.5          0.68, 0.67    1.02, 0.93    1.34, 1.38    1.85, 2.22    1.37, 2.64
    redis-py alone       0.93, 1.02    1.70, 1.98    2.21, 2.60    3.00, 4.20    2.11, 6.08

Segments of the demo model have about 50 KiB, those of models of 2 to 8 billion parameters have
several MiB. With hiredis redis-py would also pack commands in C and copy each value twice more: the
tier would take 1.4 to 1.6 times as long to write records of 1 to 4 MiB.
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
"""Where fewer bytes than this are missing, redis-py's own way costs less than one more system
call."""


class _DirectBuffer(SocketBuffer):
    _buffer: io.BytesIO
    _sock: socket.socket

    def read(self, length: int, timeout: float | object = SENTINEL) -> Any:
        """The next `length` bytes of the reply, as a memoryview where many of them have yet to be
        received."""
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
    """A `parser_class` for redis-py's connections that gives large values as memoryviews."""

    def on_connect(self, connection: Any) -> None:
        super().on_connect(connection)  # type: ignore[no-untyped-call]  # redis-py
        assert self._sock is not None
        self._buffer = _DirectBuffer(self._sock, self.socket_read_size, connection.socket_timeout)
