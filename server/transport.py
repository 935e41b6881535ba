"""uvicorn's two protocols with the limits that it leaves out.

uvicorn bounds the size of a WebSocket message and notices a peer that no longer answers pings. It
does not bound the head of a request, nor the time that a head or a message may take, nor what
happens to a peer that neither reads nor leaves. These subclasses do; they are the only code here
that touches uvicorn's insides, and their tests run against real sockets.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from onlooker.server.config import ServerSection

MAX_MESSAGE_FRAGMENTS = 1024
"""The most fragments of one message. Each costs memory beyond its bytes."""

CLOSE_TIMEOUT_S = 1.0
"""How long the peer gets to answer our close; what it sends meanwhile is read and thrown away.
Closing at once, with bytes unread, would reset the connection before the peer reads why."""


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """What the protocols need of the settings."""

    max_header_bytes: int
    message_timeout_s: float
    send_timeout_s: float

    @classmethod
    def of(cls, section: ServerSection) -> "TransportLimits":
        return cls(section.max_header_bytes, section.message_timeout_s, section.send_timeout_s)


class _Deadline:
    """One timer: `start` sets it unless it runs, `stop` unsets it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def start(self, after_s: float, action: Any) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(after_s, self._expire, action)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self, action: Any) -> None:
        self._timer = None
        action()


class BoundedHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose request heads are bounded in size and time."""

    limits: TransportLimits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes = 0
        self._in_head = True
        self._head_deadline = _Deadline(self.loop)
        self._head_deadline.start(self.limits.message_timeout_s, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_deadline.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            # Counts bytes of a body that came with its head, once: no harm, bodies come in pieces
            # of at most 256 KiB and the next piece is no longer counted.
            self._head_bytes += (
                len(data) if self._head_bytes else min(len(data), self.limits.max_header_bytes)
            )
            if self._head_bytes > self.limits.max_header_bytes:
                self._close()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        self._head_deadline.start(self.limits.message_timeout_s, self._close)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._head_deadline.stop()
        super().on_headers_complete()

    def _close(self) -> None:
        self.transport.abort()


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSocket whose messages are bounded in time and pieces, and whose end does not wait."""

    limits: TransportLimits

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.close_timeout = CLOSE_TIMEOUT_S
        self._message_deadline = _Deadline(self.loop)
        self._is_done = False
        """Whether the peer broke the rules: it is told, and not listened to any more."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._message_deadline.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_done:
            return
        super().data_received(data)
        if len(self.frames) > MAX_MESSAGE_FRAGMENTS:
            self._fail(1009, "a message in too many pieces")
        elif self.frames or self.conn.reader.buffer:
            self._message_deadline.start(self.limits.message_timeout_s, self._message_late)
        else:
            self._message_deadline.stop()

    def send_receive_event_to_app(self) -> None:
        self._message_deadline.stop()  # a message is whole; what follows has time of its own
        super().send_receive_event_to_app()

    def keepalive_timeout(self) -> None:
        if self.read_paused:  # we are not reading: the pong may wait behind what we left unread
            self.pong_timer = None
            self.pending_ping_payload = None
            self.schedule_ping()
            return
        super().keepalive_timeout()

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "websocket.close":
            self.writable.set()  # a peer that does not read must not keep us from closing
        await super().send(message)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        # Closing flushes first, and would wait for ever for a peer that does not read.
        if not self.disconnected:
            self.loop.call_later(self.limits.send_timeout_s, self._abort)

    def _abort(self) -> None:
        if not self.disconnected:
            self.transport.abort()

    def _message_late(self) -> None:
        if self.read_paused:
            self._message_deadline.start(self.limits.message_timeout_s, self._message_late)
            return
        self._fail(1008, "a message was begun and not finished")

    def handle_parser_exception(self) -> None:
        """The peer sent what is no WebSocket, or a message over the limit."""
        assert self.conn.close_sent is not None
        self._leave(self.conn.close_sent.code, self.conn.close_sent.reason)

    def _fail(self, code: int, reason: str) -> None:
        if not (self.close_sent or self.transport.is_closing()):
            self.conn.fail(code, reason)
            self._leave(code, reason)

    def _leave(self, code: int, reason: str) -> None:
        """Send the close frame that is due, and let the peer read it."""
        self._is_done = True
        self.frames = []
        self.stop_keepalive()
        self._message_deadline.stop()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self._abort)


def protocols(
    limits: TransportLimits,
) -> tuple[type[BoundedHttpProtocol], type[BoundedWebSocketProtocol]]:
    """Return protocol classes that know `limits`; uvicorn makes one of each per connection."""
    http = type("Http", (BoundedHttpProtocol,), {"limits": limits})
    websocket = type("WebSocket", (BoundedWebSocketProtocol,), {"limits": limits})
    return http, websocket
