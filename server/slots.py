"""One stream as one connection has it: feeds it, follows its events, acknowledges its frames."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from onlooker.core.clock import Clock
from onlooker.core.errors import Conflict, OnlookerError
from onlooker.core.guarantee import Guarantee, weakest
from onlooker.core.media import EncodedFrame, FrameOutcome
from onlooker.core.protocol.base import DroppedFrame
from onlooker.core.protocol.server_events import (
    ServerEvent,
    StreamClosed,
    VideoAck,
    VideoPace,
)
from onlooker.server.views import frame_totals
from onlooker.server.watch_calls import told_of
from onlooker.streams import events
from onlooker.streams.fanout import Subscription
from onlooker.streams.lease import SourceLease
from onlooker.streams.stream import Stream

AckMode = Literal["all", "problems", "none"]

MAX_QUEUED_STREAM_EVENTS = 2048
"""Stream events that wait between two steps of this connection; acknowledgements of a stream at its
full rate for half a minute."""

MAX_VIRTUAL_IN_FLIGHT = 8
"""Virtual clock: frames of one slot that the stream has and has not looked at. With so many, the
connection is not read, which slows its sender down."""

CONFLICT_REMINDER_S = 1.0
"""How often a connection is told that another source feeds the stream; not for every frame."""


class AckBatch:
    """What became of frames since the last acknowledgement; bounded."""

    def __init__(self, *, max_listed: int) -> None:
        self._max_listed = max_listed
        self._kept: list[int] = []
        self._skipped: list[int] = []
        self._dropped: list[DroppedFrame] = []
        self._omitted = 0
        self._guarantee: Guarantee | None = None
        self._last_sequence: int | None = None
        self.is_dirty = False
        """Whether there is anything to tell."""

    def add(self, ack: events.FrameAck, *, mode: AckMode) -> None:
        """Note an outcome. What the mode leaves out only counts in the totals."""
        self.is_dirty = True
        self._last_sequence = ack.sequence
        if ack.guarantee is not None:
            self._guarantee = weakest((ack.guarantee, self._guarantee or ack.guarantee))
        if mode == "none" or (mode == "problems" and ack.outcome is not FrameOutcome.DROPPED):
            return
        if len(self._kept) + len(self._skipped) + len(self._dropped) >= self._max_listed:
            self._omitted += 1
        elif ack.outcome is FrameOutcome.KEPT:
            self._kept.append(ack.sequence)
        elif ack.outcome is FrameOutcome.SKIPPED:
            self._skipped.append(ack.sequence)
        else:
            reason = ack.reason.value if ack.reason is not None else "unknown"
            self._dropped.append(DroppedFrame(sequence=ack.sequence, reason=reason))

    def take(self, slot: int, stream: Stream) -> VideoAck:
        """Return the acknowledgement and begin a new batch."""
        status = stream.status()
        ack = VideoAck(
            slot=slot,
            stream=stream.name,
            kept=self._kept,
            guarantee=self._guarantee,
            skipped=self._skipped,
            dropped=self._dropped,
            omitted=self._omitted,
            last_sequence=self._last_sequence,
            seen_until_s=status.seen_until_s,
            lag_s=status.lag_s if status.clips else None,
            totals=frame_totals(status),
        )
        self._clear()
        return ack

    def _clear(self) -> None:
        self._kept, self._skipped, self._dropped = [], [], []
        self._omitted = 0
        self._guarantee = None
        self._last_sequence = None
        self.is_dirty = False


class Slot:
    """Lives as long as its stream is attached to the connection. `follow` runs as a task."""

    def __init__(
        self,
        number: int,
        stream: Stream,
        *,
        owner: str,
        emit: Callable[[ServerEvent], None],
        report: Callable[[OnlookerError], None],
        spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"],
        clock: Clock,
        ack_mode: AckMode,
        max_listed_acks: int,
        after: int | None = None,
    ) -> None:
        """`after`: number of the stream's last event that the peer saw on an earlier connection;
        alerts that it missed follow."""
        self.number = number
        self.stream = stream
        self.ack_mode: AckMode = ack_mode
        self.next_sequence = 0
        self.has_fed = False
        """Whether a frame went to this stream from here."""
        self._owner = owner
        self._emit = emit
        self._report = report
        self._spawn = spawn
        self._clock = clock
        self._batch = AckBatch(max_listed=max_listed_acks)
        self._lease: SourceLease | None = None
        self._reminded_at_s: float | None = None
        self._first_new = stream.last_event + 1
        self._subscription: Subscription = stream.subscribe(
            max_events=MAX_QUEUED_STREAM_EVENTS, after=after
        )
        self._in_flight: set[asyncio.Task[None]] = set()
        self._landed = asyncio.Event()

    async def follow(self) -> None:
        """Turn the stream's events into the connection's, until either ends."""
        self._tell_pace(self.stream.pace)
        async for number, event in self._subscription:
            if (told := told_of(number, event, self.stream, slot=self.number)) is not None:
                self._emit(told)
            if number < self._first_new and not isinstance(event, events.StreamClosed):
                continue  # missed, and no news any more
            match event:
                case events.FrameAck() if self._lease is not None or self.has_fed:
                    self._batch.add(event, mode=self.ack_mode)
                case events.FrameAck() | events.ClipSeen() | events.ClipLost():
                    self._batch.is_dirty = True
                case events.PaceChanged():
                    self._tell_pace(event)
                case events.StreamClosed():
                    self.flush()
                    self._lease = None
                    self._emit(
                        StreamClosed(slot=self.number, stream=self.stream.name, reason=event.reason)
                    )
                case _:
                    pass

    def flush(self) -> None:
        """Acknowledge what is not acknowledged yet."""
        if self._batch.is_dirty and self.ack_mode != "none":
            self._emit(self._batch.take(self.number, self.stream))

    async def push(self, frame: EncodedFrame, *, is_last: bool) -> None:
        """Hand a frame to the stream; waits only on the virtual clock, for room.

        Raises:
            Conflict: another source feeds the stream. Raised now and then, not for every frame.
            NotFound: the stream is closed.
            InvalidRequest: a capture time that is none.
        """
        if not self._may_feed():
            return
        self.has_fed = True
        self.next_sequence = (frame.sequence + 1) & 0xFFFFFFFF
        if self.stream.is_live:
            self.stream.push(frame)
        else:
            await self._push_virtual(frame)
        if is_last:
            await self.settled()
            self.release()

    async def settled(self) -> None:
        """Return when every frame pushed on the virtual clock has been looked at."""
        while self._in_flight:
            self._landed.clear()
            await self._landed.wait()

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

    def _tell_pace(self, pace: events.PaceChanged) -> None:
        self._emit(
            VideoPace(
                slot=self.number,
                stream=self.stream.name,
                fps=pace.fps,
                width=pace.width,
                height=pace.height,
                lag_s=pace.lag_s,
                reason=pace.reason,
            )
        )
