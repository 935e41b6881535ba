"""`Assessor`: a decoder process that the event loop asks for one still after the other."""

import asyncio
import signal
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from onlooker.streams.decoding.nursery import Worker, WorkerEnded
from onlooker.streams.decoding.wire import (
    LENGTHS_BYTES,
    DecodeReply,
    EndTold,
    lengths_of,
    reply_of,
)

_READ_BYTES = 16 << 10
"""So much is read at a time while it is not known how long a reply is."""


class Assessed(msgspec.Struct, frozen=True):
    """A reply, with its body."""

    reply: DecodeReply
    body: memoryview


class Assessor:
    """One process. All calls are made on one event loop.

    Args:
        on_told: is called with each reply, or with how the process has ended, also where nothing
            was asked.
    """

    def __init__(
        self, worker: Worker, *, on_told: Callable[["Assessor", Assessed | WorkerEnded], None]
    ) -> None:
        self._worker, self._link, self._on_told = worker, worker.link, on_told
        self._heard = bytearray()
        self._head = b""
        self._body: memoryview | None = None
        self._num_got = 0
        """Bytes of the body that have come."""
        self._unsent = memoryview(b"")
        self._is_ended = False
        self._link.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._link, self._read)

    def ask(self, parts: Sequence[bytes | memoryview]) -> None:
        """Say something; the answer is told."""
        try:
            num_sent = self._link.sendmsg(parts)
        except BlockingIOError:
            num_sent = 0
        except OSError:  # why it has ended is waiting to be read
            return
        if num_sent < sum(map(len, parts)):
            self._unsent = memoryview(b"".join(parts))[num_sent:]
            self._loop.add_writer(self._link, self._write)

    def end(self) -> None:
        """End the process, whatever it does; nothing more is told. Idempotent."""
        if self._is_ended:
            return
        self._is_ended = True
        if not self._loop.is_closed():
            self._loop.remove_reader(self._link)
            self._loop.remove_writer(self._link)
        self._worker.end()

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[self._link.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:  # as in `ask`
            self._unsent = memoryview(b"")
        if not self._unsent:
            self._loop.remove_writer(self._link)

    def _read(self) -> None:
        try:
            told = self._heard_whole()
        except EndTold as end:
            self._tell_end(end.ended_by or signal.SIGKILL)
        except (EOFError, OSError):
            self._tell_end(signal.SIGKILL)
        else:
            if told is not None:
                self._on_told(self, told)

    def _heard_whole(self) -> Assessed | None:
        """Read on; what was said, once it is whole. Raises: as `receive_from_worker`."""
        if self._body is None and not self._read_head():
            return None
        assert self._body is not None
        try:
            while self._num_got < len(self._body):
                num = self._link.recv_into(self._body[self._num_got :])
                if not num:
                    raise EOFError("the other side is gone")
                self._num_got += num
        except BlockingIOError:
            return None
        body, self._body = self._body, None
        self._heard.clear()
        return Assessed(reply_of(self._head), body)

    def _read_head(self) -> bool:
        """Read on until a head is whole; whether it is. Then `_body` has room for all of the body,
        and what came of it. Raises: as `receive_from_worker`."""
        try:
            data = self._link.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            raise EOFError("the other side is gone")
        self._heard += data
        heard = self._heard
        if len(heard) < LENGTHS_BYTES:
            return False
        num_head_bytes, num_body_bytes = lengths_of(heard)
        body_at = LENGTHS_BYTES + num_head_bytes
        if len(heard) < body_at:
            return False
        self._head = bytes(heard[LENGTHS_BYTES:body_at])
        first = heard[body_at : body_at + num_body_bytes]
        self._body = np.empty(num_body_bytes, np.uint8).data  # not filled with zeros first
        self._body[: len(first)] = first
        self._num_got = len(first)
        return True

    def _tell_end(self, ended_by: int) -> None:
        self.end()
        self._on_told(self, WorkerEnded(ended_by))
