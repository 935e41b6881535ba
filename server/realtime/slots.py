"""One stream as one connection has it: feeds it, follows its events, acknowledges its frames."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from onlooker.core.clock import Clock
from onlooker.core.errors import Conflict, OnlookerError
from onlooker.core.media import EncodedFrame
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.server.rights import Action, Grant
from onlooker.server.stream_events import AckBatch, AckMode, may_hear, pace_told, told_of
from onlooker.streams import events
from onlooker.streams.fanout import Subscription
from onlooker.streams.lease import SourceLease
from onlooker.streams.stream import Stream
from onlooker.watches.events import AlertRaised

MAX_QUEUED_STREAM_EVENTS = 2048
"""Stream events that wait between two steps of this connection: as many as the acknowledgements of
a stream at its full rate for half a minute."""

MAX_VIRTUAL_IN_FLIGHT = 8
"""Frames of one slot that a stream on the virtual clock has and has not looked at. With so many,
the connection is not read, which slows its sender down."""

_ACKNOWLEDGED = (events.FrameAck, events.ClipSeen, events.ClipLost)

CONFLICT_REMINDER_S = 1.0
"""Seconds between two errors that tell a connection that another source feeds the stream; not every
frame gets one."""


class Slot:
    """One stream, for as long as it is attached to the connection. `follow` runs as a task."""

    def __init__(
        self,
        number: int,
        stream: Stream,
        *,
        grant: Grant,
        owner: str,
        emit: Callable[[ServerEvent], None],
        report: Callable[[OnlookerError], None],
        on_moved: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"],
        clock: Clock,
        ack_mode: AckMode,
        max_listed_acks: int,
        after: int | None = None,
    ) -> None:
        """`grant`: what the peer may do, and so what it hears. `after`: number of the stream's last
        event that the peer saw on an earlier connection; alerts that it missed follow. `on_moved`
        is called when the stream goes on at another server."""
        self.number = number
        self.stream = stream
        self.ack_mode: AckMode = ack_mode
        self.next_sequence = 0
        self.has_fed = False
        """Whether this connection has sent a frame to the stream."""
        self._grant = grant
        self._owner = owner
        self._emit = emit
        self._report = report
        self._on_moved = on_moved
        self._spawn = spawn
        self._clock = clock
        self._batch = AckBatch(max_listed=max_listed_acks)
        self._lease: SourceLease | None = None
        self._reminded_at_s: float | None = None
        self._first_new = stream.last_event + 1
        self._subscription: Subscription = stream.subscribe(
            max_events=MAX_QUEUED_STREAM_EVENTS, after=after, wakes_for_all=False
        )
        self._hears_frames = grant.may(Action.LISTEN) or grant.may(Action.PUSH_FRAME)
        self._in_flight: set[asyncio.Task[None]] = set()
        self._landed = asyncio.Event()

    async def follow(self) -> None:
        """Turn the stream's events into the connection's, until either ends."""
        self.tell_pace()
        async for number, event in self._subscription:
            if isinstance(event, _ACKNOWLEDGED):
                self._note(number, event)
                continue
            if not may_hear(self._grant, event):
                continue
            match event:
                case events.PaceChanged() if number < self._first_new:
                    continue
                case events.StreamEnded():
                    self.flush()
                    self._lease = None
                    if event.is_moved:
                        self._on_moved()
                case events.AnswerStarted() | events.AnswerFinished() | events.SourceChanged():
                    continue  # a connection hears of its own answers only
                case events.MemoryForgotten() | events.PrivacyChanged() | events.NameplateChanged():
                    continue
                case _:
                    pass
            if (told := told_of(number, event, self.stream, slot=self.number)) is not None:
                self._emit(told)
                if isinstance(event, AlertRaised):
                    self.stream.note_told(event.alert, "connection")

    def tell_pace(self) -> None:
        """Say what the server would like to be sent now."""
        if may_hear(self._grant, self.stream.pace):
            self._emit(pace_told(self.stream.pace, self.stream, slot=self.number))

    def flush(self) -> None:
        """Acknowledge what is not acknowledged yet."""
        while (noted := self._subscription.take_quiet()) is not None:
            self._note(*noted)
        if self._batch.is_dirty and self.ack_mode != "none":
            self._emit(self._batch.take(self.number, self.stream))

    def _note(self, number: int, event: events.StreamEvent) -> None:
        """A frame or a clip, of which is told with the next acknowledgement."""
        if not self._hears_frames:
            return
        if isinstance(event, events.FrameAck) and (self.has_fed or self._lease is not None):
            self._batch.add(event, mode=self.ack_mode)
        else:
            self._batch.is_dirty |= number >= self._first_new

    async def push(self, frame: EncodedFrame, *, is_last: bool) -> None:
        """Hand a frame to the stream; waits only on the virtual clock, for room.

        Raises:
            Conflict: another source feeds the stream. Raised now and then, not for every frame.
            NotFound: the stream is closed.
            InvalidRequest: the capture time is negative or not finite.
        """
        if self.stream.is_live:
            self.push_live(frame)
        elif self._begins_to_feed(frame):
            await self._push_virtual(frame)
        if is_last and self._lease is not None:
            await self.settled()
            self.release()

    def push_live(self, frame: EncodedFrame) -> None:
        """Hand a frame to a stream on the live clock; never waits. Raises: as `push`."""
        if self._begins_to_feed(frame):
            self.stream.push(frame)

    def _begins_to_feed(self, frame: EncodedFrame) -> bool:
        """Whether this connection may feed the stream, which it does from this frame on."""
        if not self._may_feed():
            return False
        self.has_fed = True
        self.next_sequence = (frame.sequence + 1) & 0xFFFFFFFF
        return True

    async def settled(self) -> None:
        """Return when every frame pushed on the virtual clock has been looked at."""
        while self._in_flight:
            self._landed.clear()
            await self._landed.wait()

    @property
    def is_feeding(self) -> bool:
        """Whether this connection feeds the stream."""
        return self._lease is not None

    def release(self) -> None:
        """Stop feeding the stream."""
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def close(self) -> None:
        """Let go of the stream; it goes on without this connection."""
        self.flush()
        self.release()
        self._subscription.close()

    def _may_feed(self) -> bool:
        if self._lease is not None:
            return True
        try:
            self._lease = self.stream.claim_source(self._owner)
        except Conflict:
            now_s = self._clock.now_s()
            reminded_at_s = self._reminded_at_s
            if reminded_at_s is not None and now_s - reminded_at_s < CONFLICT_REMINDER_S:
                return False
            self._reminded_at_s = now_s
            raise
        return True

    async def _push_virtual(self, frame: EncodedFrame) -> None:
        while len(self._in_flight) >= MAX_VIRTUAL_IN_FLIGHT:
            self._landed.clear()
            await self._landed.wait()
        task = self._spawn(self._push_and_wait(frame))  # tasks start in order, and push in order
        self._in_flight.add(task)
        task.add_done_callback(self._land)

    async def _push_and_wait(self, frame: EncodedFrame) -> None:
        try:
            await self.stream.push_wait(frame)
        except OnlookerError as error:
            self._report(error)

    def _land(self, task: "asyncio.Task[None]") -> None:
        self._in_flight.discard(task)
        self._landed.set()
