"""`Hop`: one connection to another server, on which one HTTP call at a time is passed on.

A whole HTTP library costs more per call than the call itself: of what a fleet needs this is all. A
call's bytes pass both ways as they come, never more at a time than the far end takes: while what
came in is not read here, the socket is not read; while the other server reads nothing, nothing more
is taken from the client.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import httptools

from onlooker.server.fleet.headers import RawHeaders

MAX_WAITING_BYTES = 256 << 10
"""With more of a reply that has come and is not read, the socket is not read."""

MAX_HEAD_BYTES = 64 << 10

_NO_BODY = (204, 304)


class HopFailed(Exception):
    """The other server went away, fell silent, or said what is no HTTP."""


class Hop(asyncio.Protocol):
    """Made by `loop.create_connection`. For each call: `ask`, then `pieces` to the end or `abort`.

    Everything runs on the event loop; no method may be called by two tasks at once.

    Args:
        silence_s: how long the other server may say, or take, nothing while it is waited for.
    """

    def __init__(self, *, silence_s: float) -> None:
        self._silence_s = silence_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._news: asyncio.Future[None] | None = None
        self._fault: HopFailed | None = None
        self._is_open = False
        self._may_write, self._is_paused = True, False
        self._is_busy = self._is_sent = False
        self._waiting: list[bytes] = []
        self._num_waiting = self._head_bytes = 0
        self._headers: RawHeaders = []
        self._status = 0
        self._has_head = self._is_whole = self._ends_with_socket = False
        self._keeps_alive = False
        self.expiry: asyncio.TimerHandle | None = None
        """Closes the connection while nobody uses it; its keeper's."""

    @property
    def is_free(self) -> bool:
        """Whether the connection is open and the last call on it has ended in order."""
        return self._is_open and not self._is_busy

    async def ask(
        self,
        method: str,
        target: bytes,
        headers: RawHeaders,
        body: AsyncIterator[bytes] | None = None,
        *,
        is_chunked: bool = False,
    ) -> tuple[int, RawHeaders]:
        """Make a call; returns the status and the headers of the reply once they are there. An
        owner that replies before it has the whole `body` is not sent the rest.

        Raises:
            HopFailed: there is no reply.
            what reading `body` does.
        """
        assert self.is_free
        self._begin()
        head = [f"{method} ".encode(), target, b" HTTP/1.1\r\n"]
        for name, value in headers:
            head += (name, b": ", value, b"\r\n")
        if is_chunked:
            head.append(b"transfer-encoding: chunked\r\n")
        head.append(b"\r\n")
        self._write(b"".join(head))
        if body is not None:
            await self._send(body, is_chunked=is_chunked)
        else:
            self._is_sent = True
        while not self._has_head:
            await self._hear()
        return self._status, self._headers

    async def pieces(self) -> AsyncIterator[bytes]:
        """The reply's body, as it comes. Raises `HopFailed` where it does not come whole."""
        while True:
            if self._waiting:
                piece = b"".join(self._waiting)
                self._waiting.clear()
                self._num_waiting = 0
                self._read_on()
                yield piece
            elif self._is_whole:
                return
            else:
                await self._hear()

    def end(self) -> bool:
        """End the call. Returns whether the connection may be used for another one; it is closed
        where it may not."""
        is_kept = self._is_open and self._is_sent and self._is_whole and self._keeps_alive
        if is_kept:
            self._is_busy = False
            self._waiting.clear()
            self._read_on()
        else:
            self.abort()
        return is_kept

    def abort(self) -> None:
        """Close the connection at once. Idempotent."""
        if self._is_open and self._transport is not None:
            self._is_open = False
            self._transport.abort()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not looked at: uvloop's transports are none of asyncio's, but like them.
        self._transport, self._is_open = cast("asyncio.Transport", transport), True

    def data_received(self, data: bytes) -> None:
        if not self._is_busy or self._is_whole:  # nobody asked
            self.abort()
            return
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(HopFailed(f"what came is no reply: {error!r}"))
            return
        if not self._has_head and self._head_bytes > MAX_HEAD_BYTES:
            self._fail(HopFailed(f"the head of the reply has more than {MAX_HEAD_BYTES} bytes"))
        self._wake()

    def eof_received(self) -> bool:
        return False  # close

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_open, self._transport = False, None
        if self._is_busy and self._has_head and self._ends_with_socket and exc is None:
            self._is_whole = True
            self._wake()
        else:
            self._fail(HopFailed(str(exc) if exc else "it closed the connection"))
        if self.expiry is not None:
            self.expiry.cancel()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._wake()

    # ---- httptools

    def on_status(self, status: bytes) -> None:
        """The reason in words: nobody reads it."""

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_head:  # of a trailer, or of a reply that nobody asked for
            return
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._has_head:
            self._keeps_alive = False
            return
        self._status = self._parser.get_status_code()
        if self._status < 200:
            return
        names = {name for name, _ in self._headers}
        self._ends_with_socket = self._status not in _NO_BODY and names.isdisjoint(
            (b"content-length", b"transfer-encoding")
        )
        self._keeps_alive = self._parser.should_keep_alive()
        self._has_head = True

    def on_body(self, piece: bytes) -> None:
        if self._is_whole:
            return
        self._waiting.append(piece)
        self._num_waiting += len(piece)
        is_full = self._num_waiting > MAX_WAITING_BYTES
        if is_full and not self._is_paused and self._is_open and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._has_head:
            self._is_whole = True
        else:  # an interim reply, such as 100
            self._headers.clear()

    # ---- inside

    def _begin(self) -> None:
        self._is_busy, self._is_sent = True, False
        self._headers, self._status, self._head_bytes = [], 0, 0
        self._has_head = self._is_whole = self._ends_with_socket = self._keeps_alive = False
        self._waiting.clear()
        self._num_waiting = 0

    def _read_on(self) -> None:
        if self._is_paused and self._is_open and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    async def _send(self, body: AsyncIterator[bytes], *, is_chunked: bool) -> None:
        async for piece in body:
            if self._has_head:
                return
            if is_chunked:
                piece = b"%x\r\n%b\r\n" % (len(piece), piece)
            self._write(piece)
            while not self._may_write and not self._has_head:
                await self._hear()
        if is_chunked:
            self._write(b"0\r\n\r\n")
        self._is_sent = True

    def _write(self, data: bytes) -> None:
        if not self._is_open or self._transport is None or self._fault is not None:
            if not self._has_head:
                raise self._fault or HopFailed("it closed the connection")
            return
        self._transport.write(data)

    async def _hear(self) -> None:
        """Wait for anything to happen. Raises `HopFailed`."""
        if self._fault is not None:
            raise self._fault
        news = self._news = self._loop.create_future()
        limit = self._loop.call_later(self._silence_s, self._be_silent)
        try:
            await news
        finally:
            limit.cancel()
            self._news = None
        if self._fault is not None and not (self._waiting or self._is_whole):
            raise self._fault

    def _be_silent(self) -> None:
        self._fail(HopFailed(f"nothing came for {self._silence_s:g} s"))

    def _fail(self, fault: HopFailed) -> None:
        self._fault = self._fault or fault
        self.abort()
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
