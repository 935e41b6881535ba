"""uvicorn's two protocols with the limits that it leaves out.

uvicorn bounds the size of a WebSocket message and notices a peer that no longer answers pings. It
does not bound the head of a request, nor the time that a head or a message may take, nor the work
that one piece of data makes, nor how many sockets say nothing, nor what happens to a peer that
neither reads nor leaves. These subclasses do; they are the only code here that touches uvicorn's
insides, and their tests run against real sockets.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import State

from onlooker.core.token_bucket import TokenBucket
from onlooker.server.config import ServerSection
from onlooker.server.lobby import Lobby, Reason
from onlooker.server.websocket_frames import (
    WHOLE_BINARY,
    FramePlace,
    frame_place,
    text_head,
    unmasked,
)

_log = logging.getLogger("onlooker.server.transport")

MAX_MESSAGE_FRAGMENTS = 1024
"""The most fragments of one message. Each costs memory beyond its bytes."""

MAX_HEADERS = 128
"""Headers of one request; each costs work beyond its bytes."""

MAX_PIPELINED = 16
"""Requests that wait on one socket for the one before them. Common clients send one at a time."""

PIECE_BYTES = 16 << 10
"""Of what came in over a WebSocket, so much is read at a time: as frames without content it is some
milliseconds of work, and after each piece it is asked whether there is to be more."""

READ_AHEAD_BYTES = 256 << 10
"""A message of more bytes is taken by the app before anything else is read."""

MAX_IGNORED_MESSAGES = 1024
"""Messages that are read after our close, on the way to the peer's."""

PING_BURST_S = 5.0

POST = "onlooker.post"
"""Extension of an ASGI scope under which the transport offers `BoundedWebSocketProtocol.post`."""

Post = Callable[[Callable[[], str | None]], None]

LISTEN = "onlooker.listen"
"""Extension of an ASGI scope under which the transport offers `BoundedWebSocketProtocol.listen`."""

TakeBinary = Callable[[bytes], bool]

Listen = Callable[[TakeBinary], None]

MAX_AT_ONCE = 16
"""So many binary messages are handed over as they come in; what else came with them waits for the
app, as everything does that it is not handed."""

POST_BYTES = 64 << 10
"""So much is posted at a time; then it is asked again whether the peer takes more."""

CLOSE_TIMEOUT_S = 1.0
"""How long the peer gets to answer our close; what it sends meanwhile is read and thrown away.
Closing at once, with bytes unread, would reset the connection before the peer reads why."""


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """What the protocols need of the settings."""

    max_header_bytes: int
    message_timeout_s: float
    send_timeout_s: float
    guest_patience_s: float
    max_pings_per_s: float

    @classmethod
    def of(cls, section: ServerSection) -> "TransportLimits":
        return cls(
            section.max_header_bytes,
            section.message_timeout_s,
            section.send_timeout_s,
            section.guest_patience_s,
            section.max_pings_per_s,
        )


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


def _reply(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()


_HEAD_TOO_LARGE = _reply("431 Request Header Fields Too Large")
_TOO_MANY_REQUESTS = _reply("429 Too Many Requests")


class _Refused(Exception):
    """Raised inside of the parser's callbacks, which ends the parsing."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose request heads are bounded in size, number and time, on a socket that is a
    guest of the lobby unless an admitted request runs on it."""

    limits: TransportLimits
    lobby: Lobby

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._received_bytes = 0
        """Of a head that is not whole yet, with what came along."""
        self._head_bytes = 0
        """Of a head, as far as it was understood."""
        self._in_head = True
        self._is_done = False
        """Whether the peer broke the rules: it is told, and not listened to any more."""
        self._head_deadline = _Deadline(self.loop)
        self._reply_deadline = _Deadline(self.loop)
        patience_s = min(self.limits.guest_patience_s, self.limits.message_timeout_s)
        self._head_deadline.start(patience_s, self._late)
        self.lobby.enter(transport, self.client[0] if self.client else "")

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_deadline.stop()
        self._reply_deadline.stop()
        self.lobby.leave(self.transport)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_done:
            return
        if self._in_head:
            self._received_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._received_bytes > self.limits.max_header_bytes:
            self._refuse("head", _HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refuse("pipeline", _TOO_MANY_REQUESTS)
            raise _Refused
        self._in_head = True
        self._head_bytes = 0
        self._head_deadline.start(self.limits.message_timeout_s, self._late)
        super().on_message_begin()
        self.scope["extensions"] = self.lobby.offer(self.transport)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._received_bytes = 0
        self._head_deadline.stop()
        self._reply_deadline.start(self.limits.guest_patience_s, self._late_if_guest)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self._reply_deadline.stop()
        super().on_response_complete()

    def handle_websocket_upgrade(self) -> None:
        self._reply_deadline.stop()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        if not self._is_done:
            self.lobby.count("not_http")
            host = self.client[0] if self.client else None
            _log.info("what came in is no HTTP, or broken", extra={"peer": host})
            super().send_400_response(msg)

    def _count(self, num_bytes: int) -> None:
        self._head_bytes += num_bytes
        if self._head_bytes > self.limits.max_header_bytes or len(self.headers) >= MAX_HEADERS:
            self._refuse("head", _HEAD_TOO_LARGE)
            raise _Refused

    def _refuse(self, reason: Reason, reply: bytes) -> None:
        """Say what is wrong, and let the peer read it before the socket goes."""
        if self._is_done or self.transport.is_closing():
            return
        self._is_done = True
        self.lobby.count(reason)
        self._head_deadline.stop()
        self.transport.write(reply)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._head_deadline.start(CLOSE_TIMEOUT_S, self.transport.abort)

    def _late(self) -> None:
        self.lobby.turn_out(self.transport, "late")

    def _late_if_guest(self) -> None:
        if self.lobby.is_guest(self.transport):
            self._late()


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSocket whose messages are bounded in time and pieces, and whose end does not wait."""

    limits: TransportLimits
    lobby: Lobby

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
        self._unread = bytearray()
        """What came in and waits until the app has taken the messages before it."""
        self._num_ignored = 0
        self._has_head = False
        """Whether the head of the request has come, after which there are frames alone."""
        self._num_owed = 0
        """Bytes that uvicorn has yet to be given of a frame that it was given the beginning of."""
        self._take_binary: TakeBinary | None = None
        rate = self.limits.max_pings_per_s
        self._heartbeats = TokenBucket(
            rate_per_s=rate, burst=max(1.0, rate * PING_BURST_S), clock=self.lobby.clock
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._message_deadline.stop()
        self._unread.clear()
        self.lobby.leave(self.transport)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        place = self._whole(data)
        if place is None:
            self._unread += data
            self._take_in()
        else:
            self._take(unmasked(data, place), hands_over=True)

    def _whole(self, data: bytes) -> FramePlace | None:
        """Where the parts lie of what came in, if that is just one binary message, nothing waits
        before it, and it may be read here: most need not be put together from pieces."""
        is_first = self._has_head and not (self._unread or self._num_owed)
        if not is_first or data[0] != WHOLE_BINARY or self.read_paused or self._is_done:
            return None
        place = frame_place(data)
        if place is None or place.num_bytes != len(data) or not self._may_read(place):
            return None
        return place

    def _take_in(self, *, hands_over: bool = True) -> None:
        """Read what came in, piece by piece, as far as the app takes it. `hands_over`: whether
        binary messages may be handed over; see `listen`."""
        num_left = MAX_AT_ONCE if hands_over else 0
        while self._unread and not (self.read_paused or self._is_done):
            if not self._num_owed and self._has_head:
                place = frame_place(self._unread)
                if place is None:
                    break
                if self._unread[0] == WHOLE_BINARY and self._may_read(place):
                    if place.num_bytes > len(self._unread):
                        break
                    payload = unmasked(self._unread, place)
                    del self._unread[: place.num_bytes]
                    self._take(payload, hands_over=num_left > 0)
                    num_left -= 1
                    continue
                self._num_owed = place.num_bytes
            self._have_uvicorn_read()
        if self._is_done:
            self._unread.clear()
        elif self.frames or self.conn.reader.buffer or (self._unread and not self.read_paused):
            self._message_deadline.start(self.limits.message_timeout_s, self._message_late)
        else:
            self._message_deadline.stop()

    def _may_read(self, place: FramePlace) -> bool:
        """Whether a binary message is read here: nearly all that comes in are frames of video, for
        which this makes a tenth of the calls. What breaks the rules is left to uvicorn."""
        return (
            place.is_masked
            and place.num_bytes - place.payload_at <= self.config.ws_max_size
            and not self.frames
            and self.conn.state is State.OPEN
            and self.handshake_complete
        )

    def _have_uvicorn_read(self) -> None:
        """Give uvicorn the next piece of what came in."""
        num_bytes = PIECE_BYTES
        if self._has_head:
            num_bytes = min(num_bytes, self._num_owed)
        elif (end := self._unread.find(b"\r\n\r\n")) >= 0:
            num_bytes, self._has_head = end + 4, True
        piece = bytes(self._unread[:num_bytes])
        del self._unread[:num_bytes]
        self._num_owed = max(0, self._num_owed - num_bytes)
        super().data_received(piece)
        if len(self.frames) > MAX_MESSAGE_FRAGMENTS:
            self._fail(1009, "a message in too many pieces")
        elif self._num_ignored > MAX_IGNORED_MESSAGES:
            self._is_done = True

    def _take(self, payload: bytes, *, hands_over: bool) -> None:
        """A binary message is whole."""
        if hands_over and self._take_binary is not None and self.queue.empty():
            self._message_deadline.stop()
            if self._take_binary(payload):
                return
        self.curr_msg_data_type = "bytes"
        self.frames = [payload]
        self.send_receive_event_to_app()

    def listen(self, take: TakeBinary) -> None:
        """Have binary messages handed to `take` as they come in, while none before them waits. It
        returns whether it has taken a message, and raises nothing; what it has not taken is
        received as usual, and all that follows behind it.

        A frame of video is many calls of Python and two tasks away from who takes it when it goes
        through `receive`.
        """
        self._take_binary = take

    async def receive(self) -> ASGIReceiveEvent:
        message = await super().receive()
        self._take_in(hands_over=False)  # what comes first is in the app's hands only after this
        return message

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            self.scope["extensions"] |= self.lobby.offer(self.transport) | {
                POST: self.post,
                LISTEN: self.listen,
            }

    def handle_ping(self) -> None:
        if not self._is_done:
            super().handle_ping()
            self._count_heartbeat()

    def handle_pong(self, event: Frame) -> None:
        super().handle_pong(event)
        self._count_heartbeat()

    def _count_heartbeat(self) -> None:
        if not self._heartbeats.try_take() and not self._is_done:
            self.lobby.count("pings")
            self._fail(1008, "more heartbeats than the limit")

    def send_receive_event_to_app(self) -> None:
        self._message_deadline.stop()  # a message is whole; what follows has time of its own
        self._num_ignored += self.close_sent
        # uvicorn stops reading at every message. While the app keeps up, that is two calls of the
        # system for nothing: it may be ahead by one small message before the socket has to wait.
        is_ahead = not self.queue.empty() or sum(map(len, self.frames)) > READ_AHEAD_BYTES
        was_paused, self.read_paused = self.read_paused, self.read_paused or not is_ahead
        super().send_receive_event_to_app()
        if not is_ahead:
            self.read_paused = was_paused

    def keepalive_timeout(self) -> None:
        if self.read_paused:  # we are not reading: the pong may wait behind what we left unread
            self.pong_timer = None
            self.pending_ping_payload = None
            self.schedule_ping()
            return
        super().keepalive_timeout()

    def post(self, take: Callable[[], str | None]) -> None:
        """Send what `take` gives, as text messages, without waiting: for as long as there is any
        and the peer takes it. What `take` was not asked for is sent with `send`.

        An answer is some calls of Python away from the socket when it goes through `send`; this is
        for what is sent to a thousand connections again and again.
        """
        while self._may_post():
            pieces: list[bytes] = []
            num_bytes = 0
            while num_bytes < POST_BYTES and (text := take()) is not None:
                payload = text.encode()
                pieces += (text_head(len(payload)), payload)
                num_bytes += len(payload)
            if not pieces:
                return
            self.transport.write(b"".join(pieces))

    def _may_post(self) -> bool:
        is_open = self.handshake_complete and self.initial_response is None
        is_ending = self.disconnected or self.close_sent or self._is_done
        return is_open and not is_ending and self.writable.is_set()

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "websocket.close":
            self.writable.set()  # a peer that does not read must not keep us from closing
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True  # refused, whole: uvicorn would log an error else
        if self.close_sent:
            self._take_in()  # on the way to the peer's close

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
    limits: TransportLimits, lobby: Lobby
) -> tuple[type[BoundedHttpProtocol], type[BoundedWebSocketProtocol]]:
    """Return protocol classes that know `limits` and `lobby`; uvicorn makes one of each per
    connection."""
    known = {"limits": limits, "lobby": lobby}
    http = type("Http", (BoundedHttpProtocol,), known)
    websocket = type("WebSocket", (BoundedWebSocketProtocol,), known)
    return http, websocket
