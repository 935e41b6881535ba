"""One live stream: frames out, questions and answers, and a connection that comes back by itself.

    async with client.stream("door") as stream:
        await stream.send_frame(picture)
        print(await stream.ask("What is on the left?"))

Two clocks. *Live*: `send_frame` never waits, and a frame that cannot leave in time gives way to the
next. *Virtual*: `send_frame` waits for room, nothing is lost, and frames that the server has not
acknowledged are sent again after a reconnection.

When the connection breaks, answers under way end with `ConnectionLost` (ask again: the stream and
its memory stay on the server until its idle limit), and it is dialled again as `Reconnect` says.
When the stream ends for good (closed, refused, given up), everything raises the reason.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from onlooker.clients.python.answers import Answer, PendingAnswer
from onlooker.clients.python.connection import DialAfter
from onlooker.clients.python.encode import guess_codec
from onlooker.clients.python.errors import ConnectionLost, error_from
from onlooker.clients.python.events import Connected, Disconnected, Event, EventLine, Problem
from onlooker.clients.python.link import Link
from onlooker.clients.python.options import ClientOptions
from onlooker.clients.python.outbox import FrameOutbox
from onlooker.clients.python.questions import Questions
from onlooker.clients.python.watches import Watches
from onlooker.core.clock import Clock, SystemClock
from onlooker.core.errors import InvalidRequest, NotFound, OnlookerError
from onlooker.core.jpeg import encode_jpeg
from onlooker.core.media import Codec, Pixels
from onlooker.core.protocol.client_events import (
    ResponseConfig,
    SessionConfig,
    SessionUpdate,
)
from onlooker.core.protocol.frame_header import FrameHeader, pack_frame
from onlooker.core.protocol.server_events import (
    AnyServerEvent,
    ErrorEvent,
    SessionClosing,
    SessionObject,
    StreamAlert,
    StreamClosed,
    StreamWatch,
    UnknownEvent,
    VideoAck,
    VideoPace,
)
from onlooker.core.protocol.watches import WatchObject
from onlooker.core.waiting import cancel

LEAVE_TIMEOUT_S = 3.0
"""How long leaving a stream waits for its last frames to be sent."""


class RemoteStream:
    """A stream as a client of its server sees it. Made by `Client.stream`; enter it before use."""

    def __init__(
        self,
        stream_id: str,
        *,
        dial: DialAfter,
        options: ClientOptions,
        session: SessionConfig,
        is_virtual: bool = False,
        clock: Clock | None = None,
        resumed_at_s: float = 0.0,
        forget: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.id = stream_id
        self._forget = forget
        self._options = options
        self._clock = clock or SystemClock()
        self.is_virtual = is_virtual
        self._outbox = FrameOutbox(
            max_frames=options.max_pending_frames * (8 if self.is_virtual else 1),
            keep_unacknowledged=self.is_virtual,
        )
        self._questions = Questions(options.max_questions, self._outbox.put_event)
        self.watches = Watches(self._outbox.put_event, options.connect_timeout_s, self._check_open)
        """The stream's standing questions: alerts, commentary, answers that come later."""
        self._lines: list[EventLine] = []
        self._acknowledged = asyncio.Event()
        self._ended: OnlookerError | None = None
        self._task: asyncio.Task[None] | None = None
        greeting = SessionUpdate(type="session.update", session=session)
        self._link = Link(
            dial=lambda: dial(self.watches.last_event),
            policy=options.reconnect,
            clock=self._clock,
            outbox=self._outbox,
            greeting=greeting.model_dump_json(exclude_none=True, exclude_unset=True)
            if session.model_fields_set
            else None,
            on_session=self._begin_session,
            on_event=self._take,
            on_lost=self._lose,
        )
        self._started_s = self._clock.now_s() - resumed_at_s
        self.session: SessionObject | None = None
        """What the server said of itself: model, capabilities, limits. None until it has."""
        self.pace: VideoPace | None = None
        """The rate and size of pictures that the server asks for; None while it takes any."""
        self.last_ack: VideoAck | None = None
        """The newest acknowledgement: totals, lag, how far the model has seen. None before it."""
        self.num_sent = 0
        """The number of frames handed in, which is also the sequence number of the last one."""
        self.last_capture_s: float | None = None

    # ---- life ----

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ServerUnreachable: nothing answers there.
            OnlookerError: the server refused, and why.
        """
        self._task = asyncio.create_task(self._link.run(), name=f"stream {self.id}")
        established = asyncio.create_task(self._link.established.wait())
        try:
            await asyncio.wait((self._task, established), return_when=asyncio.FIRST_COMPLETED)
            if not self._link.established.is_set():
                await self._task
                self._check_open()
        except BaseException:
            await self.close()
            raise
        finally:
            established.cancel()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._ended is None:
            with suppress(TimeoutError, OnlookerError):
                async with asyncio.timeout(LEAVE_TIMEOUT_S):
                    await self.flush()
        await self.close()

    async def close(self) -> None:
        """Leave the stream. One that the caller named stays on the server, with its memory, until
        its idle limit; a fresh one is closed there."""
        self._end(ConnectionLost("the stream was left"))
        if self._task is not None:
            task, self._task = self._task, None
            await cancel(task)
            if self._forget is not None and self.session is not None:
                with suppress(
                    OnlookerError
                ):  # gone already, or out of reach: its idle limit ends it
                    await self._forget()

    # ---- frames ----

    def now_s(self) -> float:
        """Stream time now: `resumed_at_s` plus the seconds since this object was made."""
        return self._clock.now_s() - self._started_s

    async def send_frame(
        self,
        frame: bytes | Pixels,
        *,
        at_s: float | None = None,
        codec: Codec | None = None,
        key_frame: bool = False,
        last: bool = False,
    ) -> int:
        """Send one picture (bytes, or uint8[height, width, 3] in RGB) or one chunk of coded video.

        `at_s` is its capture time in stream time (default: now), which must not run backwards.
        Returns its sequence number, which acknowledgements repeat.

        Raises:
            UnsupportedMedia: `frame` is no picture, and `codec` does not say what it is.
            InvalidRequest: `at_s` is before that of the last frame.
            OnlookerError: the stream has ended, and why.
        """
        self._check_open()
        at_s = self.now_s() if at_s is None else at_s
        if self.last_capture_s is not None and at_s < self.last_capture_s:
            raise InvalidRequest(
                f"stream time runs backwards: this frame was captured at {at_s:.3f} s, the last "
                f"one at {self.last_capture_s:.3f} s",
                param="at_s",
            )
        if not isinstance(frame, bytes):
            cover = (self.pace.width, self.pace.height) if self.pace else None
            frame, codec = await asyncio.to_thread(encode_jpeg, frame, cover), Codec.JPEG
        header = FrameHeader(
            codec=codec or guess_codec(frame),
            sequence=(self.num_sent + 1) & 0xFFFFFFFF,
            capture_us=round(at_s * 1_000_000),
            key_frame=key_frame,
            last_frame=last,
        )
        message = pack_frame(header, frame)
        self.last_capture_s = at_s
        self.num_sent += 1
        if self.is_virtual:
            await self._outbox.put_frame(header.sequence, message)
            self._check_open()
        else:
            self._outbox.put_newest(header.sequence, message)
            await asyncio.sleep(0)  # a loop that only sends must not starve the connection
        return header.sequence

    @property
    def num_replaced(self) -> int:
        """The number of live frames that gave way to newer ones before they could be sent."""
        return self._outbox.num_frames_replaced

    async def flush(self) -> None:
        """Wait until every frame and question handed in has left.

        Raises:
            OnlookerError: the stream has ended, and why.
        """
        await self._outbox.emptied.wait()
        self._check_open()

    async def drain(self, timeout_s: float | None = None) -> None:
        """Wait until the server has said what became of every frame handed in. On the virtual
        clock it says so when a clip is complete, so a frame without a partner stays open.

        Raises:
            TimeoutError: it took longer than `timeout_s`.
            OnlookerError: the stream has ended, and why.
        """
        async with asyncio.timeout(timeout_s):
            while not self._is_settled():
                self._check_open()
                self._acknowledged.clear()
                await self._acknowledged.wait()

    def _is_settled(self) -> bool:
        last = self.last_ack.last_sequence if self.last_ack else None
        return self.num_sent == 0 or (
            self._outbox.num_waiting == 0 and last is not None and last >= self.num_sent
        )

    # ---- questions ----

    async def ask(
        self,
        text: str,
        *,
        at_s: float | None = None,
        max_output_tokens: int | None = None,
        instructions: str | None = None,
        alone: bool = False,
        images: Iterable[bytes] = (),
    ) -> Answer:
        """Ask about the stream and wait for the whole answer.

        `at_s` asks about that moment: the answer knows nothing captured later, and comes when
        everything up to it has been seen. A question that is `alone` is asked beside the dialogue
        and neither reads nor joins it. `images` are JPEG, PNG or WebP pictures that belong to it.

        Raises:
            OnlookerError: refused, failed, or the connection was lost.
            TimeoutError: no answer within `ClientOptions.answer_timeout_s`.
        """
        pending = self.ask_stream(
            text,
            at_s=at_s,
            max_output_tokens=max_output_tokens,
            instructions=instructions,
            alone=alone,
            images=images,
        )
        return await pending.result(self._options.answer_timeout_s)

    def ask_stream(
        self,
        text: str,
        *,
        at_s: float | None = None,
        max_output_tokens: int | None = None,
        instructions: str | None = None,
        alone: bool = False,
        images: Iterable[bytes] = (),
    ) -> PendingAnswer:
        """As `ask`, but piece by piece: ``async for piece in stream.ask_stream("…")``.

        Questions of the dialogue are asked one after the other; those that are `alone` at once.
        Without a connection they wait for the next one.

        Raises:
            Overloaded: too many answers are under way.
            OnlookerError: the stream has ended, and why.
        """
        self._check_open()
        config = ResponseConfig(
            at_s=at_s, max_output_tokens=max_output_tokens, instructions=instructions
        )
        return self._questions.ask(text, images=images, alone=alone, config=config)

    # ---- watches ----

    async def alert_when(self, condition: str, **options: Any) -> WatchObject:
        """Be told when something happens, in words: ``alert_when("a red circle appears")``.

        `options` are those of the protocol's watches (``cooldown_s``, ``include_frame`` …). Alerts
        arrive as `StreamAlert` events, each once and in order, also over reconnections.

        Raises:
            OnlookerError: refused, or the connection was lost.
            TimeoutError: the server did not reply in time.
        """
        return await self.watches.create(condition=condition, **options)

    # ---- events ----

    def events(self) -> EventLine:
        """The events from now on: `Connected`, `Disconnected`, `VideoAck`, `VideoPace`, `Problem`,
        `StreamAlert`, `StreamWatch`, `StreamClosed`. Iterate over them with ``async for``; a reader
        that is too slow loses the oldest."""
        line = EventLine(self._options.max_events)
        self._lines.append(line)
        if self._ended is not None:
            line.close()
        return line

    def _tell(self, event: Event) -> None:
        for line in self._lines:
            line.put(event)

    # ---- the connection ----

    def _begin_session(self, session: SessionObject) -> None:
        self.session, self.pace = session, None
        self._tell(Connected(session))
        self._questions.go_on()

    def _lose(self, error: OnlookerError, retry_in_s: float | None) -> None:
        self._questions.fail_asked(ConnectionLost(f"the answer was lost: {error.message}"))
        self.watches.fail_all(ConnectionLost(f"the reply was lost: {error.message}"))
        self._tell(Disconnected(error.message, retry_in_s))
        if retry_in_s is None:
            self._end(error)

    def _take(self, event: AnyServerEvent | UnknownEvent) -> None:
        if isinstance(event, StreamAlert | StreamWatch):
            if self.watches.take(event):
                self._tell(event)
        elif isinstance(event, ErrorEvent) and self.watches.is_waiting_for(event):
            self.watches.take(event)
        elif isinstance(event, VideoAck):
            self._take_ack(event)
        elif isinstance(event, VideoPace):
            if event.slot == 0:
                self.pace = event
            self._tell(event)
        elif isinstance(event, SessionClosing):
            self._questions.hold()
        elif isinstance(event, StreamClosed):
            self._tell(event)
            if event.stream == self.id:
                self._end(NotFound(f"the stream '{self.id}' was closed: {event.reason}"))
        elif not self._questions.take(event) and isinstance(event, ErrorEvent):
            self._tell(Problem(error_from(event.error)))

    def _take_ack(self, ack: VideoAck) -> None:
        if ack.slot == 0:
            self.last_ack = ack
            if ack.last_sequence is not None:
                self._outbox.acknowledged_until(ack.last_sequence)
            self._acknowledged.set()
        self._tell(ack)

    def _check_open(self) -> None:
        if self._ended is not None:
            raise self._ended

    def _end(self, error: OnlookerError) -> None:
        if self._ended is None:
            self._ended = error
            self._questions.fail_all(error)
            self.watches.fail_all(error)
            self._outbox.close()
            self._acknowledged.set()
            for line in self._lines:
                line.close()
