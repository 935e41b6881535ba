"""One WebSocket: who may in, tasks that read, write and keep time, and one way to end.

    reader ──► Session ──► Outbox ──► writer
                  ▲
    keeper: acknowledgements and idleness, by the server's pulse, and requests to end; beside it,
    the end of the peer's token

Whatever ends the connection is an `_End` with a close code: all tasks stop, running answers are
told as cancelled, what waits is sent as far as the peer takes it, and the socket is closed.
"""

import asyncio
import itertools
from contextlib import suppress

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from onlooker.core.errors import InvalidRequest, NotFound, OnlookerError
from onlooker.core.protocol.server_events import ErrorEvent, SessionClosing
from onlooker.core.token_bucket import TokenBucket
from onlooker.core.trace import TraceParent, asked_by
from onlooker.server import errors
from onlooker.server.auth import REALTIME_SUBPROTOCOL, bearer, from_subprotocols
from onlooker.server.gateway import Gateway, Phase
from onlooker.server.lobby import admitted
from onlooker.server.realtime.outbox import Outbox, SlowReader
from onlooker.server.realtime.session import Session, TooManyErrors
from onlooker.server.realtime.session_stream import stream_for_session
from onlooker.server.relay.tunnel import tunnelled
from onlooker.server.rights import Action, Grant, expiry
from onlooker.server.transport import LISTEN, POST, Listen, Post
from onlooker.streams.stream import Stream
from onlooker.streams.tenants import TenantStreams

FAREWELL_S = 1.0
"""How long a peer gets to take what still waits for it when its connection ends."""

MESSAGES_A_TURN = 16
"""Messages of one connection that are taken before others get their turn."""


SHUTTING_DOWN, MOVED = "shutting_down", "moved"
"""Why a connection ends whose server goes away: there is nothing else, or its stream goes on at
another server."""

EVENTS_HEARD = ("all", "openai")
"""What a peer may ask to be told with ``events=``."""

CHECK_S = 1.0
"""How often it is looked whether a connection is to end; acknowledgements are due more often."""

CHECKS_A_SILENCE = 4
"""So often it is looked, at least, within the time after which a silent connection ends."""

LONG_TEXT_CHARS = 4096
"""After a text of more, others get their turn at once."""


class _End(Exception):
    """Why and how the connection ends."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str = "",
        *,
        retry_after_s: float | None = None,
        announced: bool = False,
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s
        self.announced = announced
        """Whether `session.closing` has been sent already."""


class _PeerLeft(_End):
    """The other side closed or vanished: there is nobody to tell."""

    def __init__(self) -> None:
        super().__init__(errors.CLOSE_NORMAL, "client_left")


async def serve_realtime(websocket: WebSocket, gateway: Gateway) -> None:
    """Let a peer in and serve it, or refuse it before the upgrade with an HTTP status."""
    try:
        grant = _check(websocket, gateway)
        if gateway.tracer is not None:
            asked_by.set(TraceParent.brought(websocket.scope["headers"]))
        streams = gateway.streams_of(grant.tenant)
        with gateway.places.take(), admitted(websocket.scope):
            wanted = websocket.query_params.get("stream")
            if await tunnelled(websocket, gateway, grant, wanted):
                return
            stream, is_own = await stream_for_session(gateway, streams, wanted, grant)
            try:
                connection = RealtimeConnection(websocket, gateway, streams, grant)
                await connection.run(stream, is_own=is_own)
            finally:
                if is_own:
                    with suppress(NotFound):  # the session, where it came to be, has closed it
                        await asyncio.shield(
                            streams.close_stream(stream.name, "its connection ended")
                        )
    except OnlookerError as error:
        gateway.metrics.client_errors.labels(code=error.code).inc()
        gateway.metrics.connections_total.labels(outcome="refused").inc()
        status, headers, body = errors.reply_of(error)
        with suppress(WebSocketDisconnect, RuntimeError, OSError):
            await websocket.send_denial_response(Response(body, status, headers))


def _check(websocket: WebSocket, gateway: Gateway) -> Grant:
    headers, query = websocket.headers, websocket.query_params
    gateway.origins.check(origin=headers.get("origin"), host=headers.get("host"))
    credential = (
        bearer(headers.get("authorization"))
        or from_subprotocols(websocket.scope.get("subprotocols", []))
        or query.get("token")
    )
    grant = gateway.auth.check(credential)
    grant.require(Action.CONNECT)
    gateway.check_open()
    gateway.check_model(query.get("model"))
    if query.get("events", "all") not in EVENTS_HEARD:
        raise InvalidRequest(
            "events= is 'all', or 'openai' for those that OpenAI has only", param="events"
        )
    return grant


def _hears_all(websocket: WebSocket) -> bool:
    """Whether a peer asks for events that OpenAI does not have. Who does not is told them once it
    speaks of video itself."""
    return websocket.query_params.get("events") == "all" or _after(websocket) is not None


def _after(websocket: WebSocket) -> int | None:
    """The number of the last event that a peer saw before; what is no number counts as none."""
    text = websocket.query_params.get("after", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


class RealtimeConnection:
    """The connection of one peer that was let in."""

    def __init__(
        self, websocket: WebSocket, gateway: Gateway, streams: TenantStreams, grant: Grant
    ) -> None:
        self._websocket = websocket
        self._gateway = gateway
        self._streams = streams
        self._grant = grant
        self._settings = gateway.settings.server
        self._clock = gateway.clock
        self._ending: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._outbox = Outbox(
            max_events=self._settings.max_queued_events,
            max_bytes=self._settings.max_queued_bytes,
            max_listed_acks=self._settings.max_listed_acks,
            on_overflow=lambda: self._end_soon(_slow_reader()),
            on_arrival=self._send_soon,
            tells_all=_hears_all(websocket),
        )
        self._post: Post | None = websocket.scope.get("extensions", {}).get(POST)
        self._may_post = False
        """Whether the connection is open, and `_write` has nothing in its hands."""
        listen: Listen | None = websocket.scope.get("extensions", {}).get(LISTEN)
        if listen is not None:
            listen(self._take_frame)
        rate = self._settings.max_messages_per_s
        self._pace = TokenBucket(rate_per_s=rate, burst=max(1.0, rate), clock=self._clock)
        self._is_listening = False
        """Whether `_read` waits for a message, and has none in its hands."""
        self._session: Session | None = None
        self._heard_at_s = self._clock.now_s()
        self._check_s = min(CHECK_S, self._settings.idle_timeout_s / CHECKS_A_SILENCE)
        self._check_at_s = self._heard_at_s
        """Clock time at which it is looked next whether the connection is to end."""

    async def run(self, stream: Stream, *, is_own: bool) -> None:
        """Serve until the end, whatever it is. `is_own`: the stream ends with the connection."""
        end: _End = _PeerLeft()
        self._gateway.metrics.connections.inc()
        self._gateway.connections.add(self)
        session: Session | None = None
        try:
            await self._accept()
            async with asyncio.TaskGroup() as tasks:
                session = Session(
                    self._gateway,
                    self._streams,
                    self._grant,
                    self._outbox,
                    tasks,
                    connection=self._websocket,
                    on_moved=self._leave,
                )
                self._session = session
                session.open(stream, is_own=is_own, after=_after(self._websocket))
                tasks.create_task(self._read(session))
                tasks.create_task(self._write())
                tasks.create_task(self._keep(session))
                if self._grant.expires_at is not None:
                    tasks.create_task(self._expire())
        except* _End as group:
            end = _first(group)
        except* Exception as group:
            errors.hide(group, where="connection")
            end = _End(errors.CLOSE_OUR_FAULT, "internal_error", "something went wrong here")
        finally:
            self._gateway.connections.discard(self)
            self._gateway.metrics.connections.dec()
            self._gateway.metrics.connections_total.labels(outcome=end.reason).inc()
            if session is not None:
                await asyncio.shield(session.close())
        await self._say_farewell(end)

    def drain(self) -> None:
        """Announce that the server goes away, refuse new work, end when running answers have."""
        if self._session is None or self._session.is_draining:
            return
        self._session.is_draining = True
        if self._gateway.goes_on_elsewhere:
            message = "the server is drained; running answers end first, then connect again"
            self._outbox.put(SessionClosing(reason=MOVED, message=message, retry_after_s=0.0))
        else:
            message = "the server is shutting down; running answers end first"
            self._outbox.put(
                SessionClosing(reason=SHUTTING_DOWN, message=message, retry_after_s=5.0)
            )

    def _leave(self) -> None:
        """The stream goes on at another server, and so should the connection."""
        message = "the stream goes on at another server; connect again"
        self._end_soon(self._going_away(message))

    def end_now(self) -> None:
        """End the connection soon, since the time to drain is over."""
        self._end_soon(self._going_away())

    async def _accept(self) -> None:
        offered = self._websocket.scope.get("subprotocols", [])
        chosen = REALTIME_SUBPROTOCOL if REALTIME_SUBPROTOCOL in offered else None
        try:
            await self._websocket.accept(subprotocol=chosen)
        except (WebSocketDisconnect, OSError) as error:  # it left while it was being let in
            raise _PeerLeft from error

    def _end_soon(self, end: Exception) -> None:
        if not self._ending.done():
            self._ending.set_result(end)

    # ---- the tasks

    async def _read(self, session: Session) -> None:
        for number in itertools.count():
            if (too_early_s := self._pace.take()) > 0:
                await self._clock.sleep(too_early_s)  # unread, the sender's own buffers fill
            elif number % MESSAGES_A_TURN == 0:
                await asyncio.sleep(0)  # what has come in at once is taken without waiting
            self._is_listening = True
            message = await self._websocket.receive()
            self._is_listening = False
            if message["type"] == "websocket.disconnect":
                raise _PeerLeft
            self._heard_at_s = self._clock.now_s()
            try:
                if (text := message.get("text")) is not None:
                    await session.on_text(text)
                    if len(text) > LONG_TEXT_CHARS:
                        await asyncio.sleep(0)
                else:
                    await session.on_binary(message["bytes"])
            except TooManyErrors:
                raise _too_many_errors() from None

    def _take_frame(self, message: bytes) -> bool:
        """Take a frame that has just come in, where nothing has to be waited for; whether it was
        taken. Raises nothing."""
        session = self._session
        if session is None or not self._is_listening or self._ending.done():
            return False
        try:
            is_taken = session.take_frame(message, self._pace)
        except TooManyErrors:
            self._end_soon(_too_many_errors())
            return True
        except Exception as error:  # a fault of ours: raised where it ends all
            self._end_soon(error)
            return True
        if is_taken:
            self._heard_at_s = self._clock.now_s()
        return is_taken

    def _send_soon(self) -> None:
        """Something waits to be sent. What else is put in now goes along with it."""
        asyncio.get_running_loop().call_soon(self._send_at_once)

    def _send_at_once(self) -> None:
        """Send what waits, as far as the peer takes it; the rest is left to `_write`."""
        if self._post is not None and self._may_post:
            self._post(self._outbox.take)
        if len(self._outbox):
            self._outbox.wake()

    async def _write(self) -> None:
        try:
            self._may_post = True
            while (text := await self._outbox.get()) is not None:
                self._may_post = False
                async with asyncio.timeout(self._settings.send_timeout_s):
                    await self._websocket.send_text(text)
                self._may_post = True
        except (SlowReader, TimeoutError):
            raise _slow_reader() from None
        except (WebSocketDisconnect, RuntimeError, OSError):
            raise _PeerLeft from None

    async def _keep(self, session: Session) -> None:
        """Do what is due now and then, until the connection is to end."""

        def beat() -> None:
            try:
                self._do_what_is_due(session)
            except Exception as error:  # an `_End`, or a fault of ours: raised where it ends all
                self._end_soon(error)

        with self._gateway.pulse.joined(beat):
            raise await self._ending

    def _do_what_is_due(self, session: Session) -> None:
        session.tick()
        now_s = self._clock.now_s()
        if session.is_draining or now_s >= self._check_at_s:
            self._check_at_s = now_s + self._check_s
            self._check_end(session, now_s)

    def _check_end(self, session: Session, now_s: float) -> None:
        """Raises `_End` where the connection is to end."""
        self._check_engine()
        if session.is_answering:
            self._heard_at_s = now_s
        elif session.is_draining:
            raise self._going_away()
        if now_s - self._heard_at_s > self._settings.idle_timeout_s:
            raise _End(
                errors.CLOSE_NORMAL,
                "idle",
                f"nothing came for {self._settings.idle_timeout_s:g} s; send a ping to stay",
            )

    async def _expire(self) -> None:
        """A connection does not outlive the token that opened it."""
        error = await expiry(self._grant, self._clock)
        self._gateway.metrics.client_errors.labels(code=error.code).inc()
        self._outbox.put(ErrorEvent(error=errors.body_of(error)))
        raise _End(errors.CLOSE_REFUSED, error.code, error.message)

    def _going_away(self, message: str = "the server goes away; connect again") -> _End:
        is_told = self._session is not None and self._session.is_draining
        reason, retry_after_s = SHUTTING_DOWN, 5.0
        if self._gateway.goes_on_elsewhere:
            reason, retry_after_s = MOVED, 0.0
        return _End(
            errors.CLOSE_GOING_AWAY,
            reason,
            message,
            retry_after_s=retry_after_s,
            announced=is_told,
        )

    def _check_engine(self) -> None:
        if self._gateway.phase is Phase.READY and not self._gateway.hub.alive():
            raise _End(
                errors.CLOSE_OUR_FAULT, "engine_dead", "the engine is gone; the server must restart"
            )

    # ---- the end

    async def _say_farewell(self, end: _End) -> None:
        if isinstance(end, _PeerLeft):
            return
        if not end.announced:
            self._outbox.put(
                SessionClosing(
                    reason=end.reason, message=end.message, retry_after_s=end.retry_after_s
                )
            )
        self._may_post = False
        self._outbox.close()
        with suppress(SlowReader, TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            async with asyncio.timeout(FAREWELL_S):
                while (text := await self._outbox.get()) is not None:
                    await self._websocket.send_text(text)
        with suppress(TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            async with asyncio.timeout(FAREWELL_S):
                await self._websocket.close(end.code, end.reason)


def _too_many_errors() -> _End:
    return _End(errors.CLOSE_REFUSED, "too_many_errors", "most of what was sent was faulty")


def _slow_reader() -> _End:
    return _End(
        errors.CLOSE_TRY_LATER, "slow_reader", "events were not read fast enough", announced=True
    )


def _first(group: BaseExceptionGroup[_End]) -> _End:
    """The end that counts: one that came from here, before the peer's leaving."""
    leaves: list[_End] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop()
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        elif isinstance(error, _End):
            leaves.append(error)
    return next((end for end in leaves if not isinstance(end, _PeerLeft)), leaves[0])
