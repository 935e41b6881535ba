"""A stream: one video source, all that is remembered of it, and any number of viewers.

A stream is not a connection. It is fed by whoever holds its source lease, and stays until it is
closed, its idle limit passes, or its own task fails; no failure of one reaches another.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Executor

from onlooker.core.clock import Clock
from onlooker.core.errors import Conflict, InvalidRequest, NotFound
from onlooker.core.ids import ResponseId, StreamId, split_stream_id
from onlooker.core.media import Clip, DropReason, EncodedFrame, FrameOutcome
from onlooker.core.metrics import Metrics
from onlooker.engine.asking import Asker, QuestionSlots
from onlooker.engine.config import EngineSection
from onlooker.engine.events import (
    ClipSeen,
    FrameAck,
    PaceChanged,
    SourceChanged,
    StreamClosed,
    StreamEvent,
)
from onlooker.engine.fanout import EventLog, Subscription
from onlooker.engine.interface import NOTHING, AnswerEvent, Engine, Question, Remembered, Turn
from onlooker.engine.lease import SourceLease
from onlooker.engine.mailbox import Entry, Mailbox, SourceEnd
from onlooker.engine.pace import PaceAdvisor
from onlooker.engine.perception.perceiver import Perceiver
from onlooker.engine.perception.sampler import FloodLimit, RateMeter, Sampler
from onlooker.engine.state import StreamOptions, StreamStatus
from onlooker.engine.watches.keeper import MakeKeeper
from onlooker.engine.watching import Watcher

__all__ = ["SourceLease", "Stream", "StreamOptions", "StreamStatus"]


class Stream:
    """One stream. Everything runs on the event loop; the hub makes it and runs it."""

    def __init__(
        self,
        stream_id: StreamId,
        options: StreamOptions,
        *,
        engine: Engine,
        clock: Clock,
        settings: EngineSection,
        metrics: Metrics,
        pool: Executor,
        slots: QuestionSlots,
        make_keeper: MakeKeeper,
        remembered: Remembered = NOTHING,
    ) -> None:
        self.id, self.name = stream_id, split_stream_id(stream_id)[1]
        self.options = options
        self.is_live = (options.clock or settings.clock) == "live"
        self.created_wall_s = clock.wall_s()
        self.active_at_s = clock.now_s()
        """Clock time at which somebody last fed, watched or asked."""
        self._clock, self._settings, self._metrics = clock, settings, metrics
        self._events = EventLog.of(settings, metrics)
        info, perception = engine.info, settings.perception
        interval_s = max(perception.clip_interval_s / 2, 1 / (options.max_fps or math.inf))
        self.interval_s = interval_s
        """Stream time between two frames that are looked at."""
        self._sampler = Sampler(interval_s)
        self._flood = FloodLimit(settings.max_fps)
        self._fps = RateMeter()
        self._mailbox = Mailbox.of(settings)
        self._perceiver = Perceiver(
            stream_id,
            settings=settings,
            gate_threshold=options.gate_threshold,
            sample_interval_s=interval_s,
            width=info.frame_width,
            height=info.frame_height,
            first_clip_index=remembered.next_clip_index,
        )
        self.watches = make_keeper(
            stream_id, publish=self._publish, is_live=self.is_live, now_s=self._now_s
        )
        """Standing questions to this stream."""
        self._watcher = self._make_watcher(engine, pool)
        self._watcher.seen_until_s = remembered.seen_until_s
        self._closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asker = self._make_asker(engine, slots)
        self._pace = PaceAdvisor(
            fps=1 / interval_s,
            width=info.frame_width,
            height=info.frame_height,
            max_lag_s=settings.max_lag_s,
        )
        self._lease: SourceLease | None = None
        self._shift_s: float | None = 0.0
        self._pushed_s = remembered.seen_until_s
        self._pushed_at_s = 0.0
        self._turn = asyncio.Lock()
        self._publish(self._pace.current)

    def _make_watcher(self, engine: Engine, pool: Executor) -> Watcher:
        return Watcher(
            mailbox=self._mailbox,
            perceiver=self._perceiver,
            engine=engine,
            pool=pool,
            clock=self._clock,
            metrics=self._metrics,
            publish=self._publish,
            keeper=self.watches,
            is_live=self.is_live,
            max_lag_s=self._settings.max_lag_s,
        )

    def _make_asker(self, engine: Engine, slots: QuestionSlots) -> Asker:
        return Asker(
            engine=engine,
            clock=self._clock,
            metrics=self._metrics,
            settings=self._settings,
            slots=slots,
            mailbox=self._mailbox,
            watcher=self._watcher,
            publish=self._publish,
            closed=self._closed,
            is_live=self.is_live,
            now_s=self._now_s,
            newest_s=lambda: self._newest_s or 0.0,
        )

    # ---- the source

    def claim_source(self, owner: str) -> SourceLease:
        """Become the one who feeds this stream. `owner` names the source in errors and status.

        When the new source's time starts before what the stream has seen, it is shifted to follow
        on, so that a camera that restarts at 0 can go on feeding its stream.

        Raises:
            Conflict: another source feeds it.
            NotFound: it is closed.
        """
        self._check_open()
        if self._lease is not None:
            raise Conflict(
                f"stream '{self.name}' is already fed by {self._lease.owner}: stop that source, or "
                "open another stream",
                param="stream",
            )
        self._lease = SourceLease(owner, self._release)
        self._shift_s = None  # decided by the first frame
        self._sampler = Sampler(self.interval_s)
        self.active_at_s = self._clock.now_s()
        self.note_source("began", owner)
        return self._lease

    def note_source(self, state: str, detail: str) -> None:
        """Tell viewers how the source is: ``began``, ``lost``, ``found again`` or ``ended``."""
        self._publish(SourceChanged(state, detail))

    def push(self, frame: EncodedFrame) -> None:
        """Take a live frame; never waits. What becomes of it arrives as a `FrameAck`.

        Raises:
            InvalidRequest: a capture time that is no time; a stream on the virtual clock.
            NotFound: the stream is closed.
        """
        if not self.is_live:
            raise InvalidRequest(
                f"stream '{self.name}' runs on the virtual clock, where the sender waits: push_wait"
            )
        if (entry := self._admitted(frame, None)) is not None:
            self._offer(entry)

    async def push_wait(self, frame: EncodedFrame) -> FrameAck:
        """Take a frame, wait for room (virtual clock) and for what becomes of it.

        Raises: as `push`.
        """
        outcome: asyncio.Future[FrameAck] = asyncio.get_running_loop().create_future()
        if self.is_live:
            if (entry := self._admitted(frame, outcome)) is not None:
                self._offer(entry)
            return await outcome
        async with self._turn:
            if (entry := self._admitted(frame, outcome)) is not None:
                await self._mailbox.wait_room(entry)
                if self._closed.done():
                    self._watcher.settle(entry, FrameOutcome.DROPPED, DropReason.STREAM_CLOSED)
                else:
                    self._mailbox.put(entry)
        return await outcome

    # ---- viewers

    def subscribe(self, *, max_events: int, after: int | None = None) -> Subscription:
        """Listen to what happens, from now on or from what is retained after event `after`."""
        self.active_at_s = self._clock.now_s()
        return self._events.subscribe(max_events=max_events, after=after)

    def ask(
        self,
        text: str,
        *,
        response_id: ResponseId,
        asked_s: float | None = None,
        max_tokens: int = 128,
        instructions: str | None = None,
        dialogue: Sequence[Turn] = (),
        images: Sequence[Clip] = (),
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> AsyncGenerator[AnswerEvent]:
        """Ask; yields deltas, then exactly one `AnswerEnd` (whose details hold ``asked_s``,
        ``seen_until_s`` and ``ttft_s``). Close the generator to cancel.

        Live without `asked_s` is about now. With `asked_s`, or on the virtual clock, the answer
        waits until everything that came in with an earlier capture time has been seen; it depends
        on nothing captured later, and neither on when or whether other questions are asked.

        Raises, at the first step:
            Overloaded: too many answers are under way, here or on the server.
            InvalidRequest: an empty question; a time too far ahead.
            NotFound, Conflict: the stream is closed, or was while this waited.
            EngineFailed, EngineDead, TooLarge: from the engine.
        """
        self._check_open()
        self.active_at_s = self._clock.now_s()
        question = Question(
            stream_id=self.id,
            response_id=response_id,
            text=text,
            asked_s=0.0,
            dialogue=tuple(dialogue),
            instructions=instructions,
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            images=tuple(images),
        )
        return self._asker.ask(question, asked_s)

    @property
    def pace(self) -> PaceChanged:
        """What the server would like to be sent now."""
        return self._pace.current

    @property
    def closed_reason(self) -> str | None:
        return self._closed.result() if self._closed.done() else None

    @property
    def is_in_use(self) -> bool:
        """Whether somebody listens, asks, waits to feed it, or the model is not done with it."""
        return bool(
            self._events.num_subscribers
            or self._asker.num_active
            or self._turn.locked()
            or len(self._mailbox)
            or self._watcher.is_busy
        )

    def status(self) -> StreamStatus:
        """The counters now."""
        watcher, counters = self._watcher, self._watcher.counters
        return StreamStatus(
            stream_id=self.id,
            clock="live" if self.is_live else "virtual",
            created_wall_s=self.created_wall_s,
            metadata=dict(self.options.metadata),
            received=counters.received,
            kept=counters.kept,
            skipped=counters.skipped,
            dropped=dict(counters.dropped),
            waiting=len(self._mailbox),
            clips=counters.clips,
            clips_lost=counters.clips_lost,
            newest_s=self._newest_s,
            seen_until_s=watcher.seen_until_s,
            lag_s=watcher.lag_s,
            source=self._lease.owner if self._lease is not None else None,
            subscribers=self._events.num_subscribers,
            questions=self._asker.num_active,
            fps=self._fps.rate(self._clock.now_s()),
            closed=self.closed_reason,
        )

    # ---- for the hub

    async def run(self) -> None:
        """Watch until cancelled; raises what ended it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watcher.run())
            tasks.create_task(self.watches.run())

    async def close(self, reason: str) -> None:
        """Tell everyone that it is over and let go of what waits. Called by the hub, which has
        stopped `run` before; use `StreamHub.close_stream`. Idempotent."""
        if self._closed.done():
            return
        self._closed.set_result(reason)
        self._lease = None
        await self.watches.close()
        await self._watcher.close()
        self._events.publish(StreamClosed(reason))

    # ---- inside

    @property
    def _newest_s(self) -> float | None:
        looked_at_s = self._perceiver.newest_s
        if self._pushed_s is None or looked_at_s is None:
            return looked_at_s if self._pushed_s is None else self._pushed_s
        return max(self._pushed_s, looked_at_s)

    def _now_s(self) -> float:
        newest_s = self._newest_s
        if newest_s is None:
            return 0.0
        return newest_s + (self._clock.now_s() - self._pushed_at_s)

    def _release(self, lease: SourceLease, detail: str) -> None:
        if self._lease is lease:
            self._lease = None
            self._mailbox.put(SourceEnd())
            self.note_source("ended", f"{lease.owner}: {detail}" if detail else lease.owner)

    def _check_open(self) -> None:
        if self._closed.done():
            raise NotFound(f"stream '{self.name}' is closed: {self.closed_reason}", param="stream")

    def _admitted(
        self, frame: EncodedFrame, outcome: "asyncio.Future[FrameAck] | None"
    ) -> Entry | None:
        """Count and check a message; None when its outcome is already known."""
        self._check_open()
        if not (math.isfinite(frame.capture_s) and frame.capture_s >= 0):
            raise InvalidRequest(
                f"a capture time is in seconds, 0 or more; got {frame.capture_s}", param="timestamp"
            )
        now_s = self._clock.now_s()
        self.active_at_s = now_s
        self._watcher.counters.received += 1
        self._fps.note(now_s)
        frame = self._shifted(frame, now_s)
        entry = Entry(frame, outcome)
        if self.is_live and not self._flood.allows(now_s):
            self._watcher.settle(entry, FrameOutcome.DROPPED, DropReason.RATE_LIMIT)
        elif len(frame.payload) > self._settings.max_frame_bytes:
            self._watcher.settle(entry, FrameOutcome.DROPPED, DropReason.TOO_LARGE)
        elif self._pushed_s is not None and frame.capture_s < self._pushed_s:
            self._watcher.settle(entry, FrameOutcome.DROPPED, DropReason.LATE)
        else:
            self._pushed_s, self._pushed_at_s = frame.capture_s, now_s
            if not frame.codec.is_still or self._sampler.pick(frame.capture_s):
                return entry
            self._watcher.settle(entry, FrameOutcome.SKIPPED, None)
        return None

    def _shifted(self, frame: EncodedFrame, now_s: float) -> EncodedFrame:
        """Move a new source's time behind what the stream has seen; 0 for most."""
        if self._shift_s is None:
            self._shift_s = 0.0
            newest_s = self._newest_s
            if newest_s is not None and frame.capture_s < newest_s:
                pause_s = now_s - self._pushed_at_s if self.is_live else self.interval_s
                self._shift_s = newest_s + max(pause_s, self.interval_s) - frame.capture_s
        if not self._shift_s:
            return frame
        return EncodedFrame(
            frame.sequence,
            frame.capture_s + self._shift_s,
            frame.codec,
            frame.payload,
            frame.received_at_s,
        )

    def _offer(self, entry: Entry) -> None:
        for dropped, reason in self._mailbox.offer(entry):
            self._watcher.settle(dropped, FrameOutcome.DROPPED, reason)

    def _publish(self, event: StreamEvent) -> None:
        self._events.publish(event)
        if isinstance(event, ClipSeen) and self.is_live:
            wish = self._pace.note_lag(event.lag_s, self._clock.now_s())
            if wish is not None:
                self._events.publish(wish)
