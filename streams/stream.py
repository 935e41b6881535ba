"""A stream: one video source, all that is remembered of it, and any number of viewers.

A stream is not a connection. It is fed by whoever holds its source lease, and stays until it is
closed, its idle limit passes, or its own task fails; no failure of one reaches another.
"""

import asyncio
import math
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from dataclasses import replace

from onlooker.core.clock import Clock
from onlooker.core.errors import Conflict, InvalidRequest, NotFound
from onlooker.core.ids import StreamId, split_stream_id
from onlooker.core.media import DropReason, EncodedFrame, FrameOutcome
from onlooker.core.metrics import Metrics
from onlooker.engine.interface import AnswerEvent, EngineInfo, Question
from onlooker.engine.supervisor import EngineSupervisor
from onlooker.streams.asking import Asker, QuestionSlots
from onlooker.streams.config import StreamsSection
from onlooker.streams.events import (
    ClipSeen,
    FrameAck,
    PaceChanged,
    SourceChanged,
    StreamClosed,
    StreamEvent,
)
from onlooker.streams.fanout import EventLog, Subscription
from onlooker.streams.intake import Intake
from onlooker.streams.lease import SourceLease
from onlooker.streams.mailbox import Entry, Mailbox, SourceEnd
from onlooker.streams.perception.perceiver import Perceiver
from onlooker.streams.quality.control import QualityControl
from onlooker.streams.quality.governor import Governor
from onlooker.streams.quality.pace import PaceAdvisor
from onlooker.streams.restoring import Opened
from onlooker.streams.state import StreamOptions, StreamStatus
from onlooker.streams.watching import Watcher
from onlooker.watches.keeper import MakeKeeper

__all__ = ["Stream", "StreamOptions", "StreamStatus"]


class Stream:
    """One stream. Everything runs on the event loop; the hub makes it and runs it."""

    def __init__(
        self,
        stream_id: StreamId,
        options: StreamOptions,
        *,
        engine: EngineSupervisor,
        opened: Opened,
        clock: Clock,
        settings: StreamsSection,
        metrics: Metrics,
        pool: Executor,
        slots: QuestionSlots,
        make_keeper: MakeKeeper,
        governor: Governor,
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
        self._governor = governor
        self.service = governor.serve(
            stream_id,
            options.tier,
            is_live=self.is_live,
            interval_s=interval_s,
            max_pair_gap_s=perception.max_pair_gap_s,
        )
        self._mailbox = Mailbox.of(settings)
        self._perceiver = self._make_perceiver(info)
        self.watches = make_keeper(
            stream_id,
            publish=self._publish,
            is_live=self.is_live,
            now_s=self._now_s,
            is_kept=options.persistent,
        )
        """Standing questions to this stream."""
        self._opened = opened
        self._watcher = self._make_watcher(engine, pool, opened)
        self._intake = self._make_intake(opened.newest_s)
        self._closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asker = self._make_asker(engine, slots)
        width, height = info.frame_width, info.frame_height
        self._pace = PaceAdvisor(
            fps=1 / interval_s, width=width, height=height, max_lag_s=settings.max_lag_s
        )
        self._lease: SourceLease | None = None
        self._turn = asyncio.Lock()
        self._publish(self._pace.current)
        self.quality_control = QualityControl(
            self.service, self._perceiver, self._watcher, self._intake, self._pace, self._publish
        )
        """For the governor."""
        self.quality_control.begin()

    def _make_perceiver(self, info: EngineInfo) -> Perceiver:
        return Perceiver(
            self.id,
            settings=self._settings,
            gate_threshold=self.options.gate_threshold,
            sample_interval_s=self.service.interval_s,
            width=info.frame_width,
            height=info.frame_height,
        )

    def _make_intake(self, pushed_s: float | None) -> Intake:
        return Intake(
            watcher=self._watcher,
            service=self.service,
            settings=self._settings,
            clock=self._clock,
            is_live=self.is_live,
            interval_s=self.interval_s,
            pushed_s=pushed_s,
        )

    def _make_watcher(self, engine: EngineSupervisor, pool: Executor, opened: Opened) -> Watcher:
        return Watcher(
            self.id,
            mailbox=self._mailbox,
            perceiver=self._perceiver,
            engine=engine,
            opened=opened,
            pool=pool,
            clock=self._clock,
            metrics=self._metrics,
            publish=self._publish,
            keeper=self.watches,
            is_live=self.is_live,
            max_lag_s=self._settings.max_lag_s,
            service=self.service,
        )

    def _make_asker(self, engine: EngineSupervisor, slots: QuestionSlots) -> Asker:
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
            service=self.service,
            governor=self._governor,
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
        self._intake.begin_source()
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

    def ask(self, question: Question) -> AsyncGenerator[AnswerEvent]:
        """Ask; yields deltas, then exactly one `AnswerEnd`. Close the generator to cancel.

        Live without `Question.at_s` is about now. With it, or on the virtual clock, the answer
        waits until everything that came in with an earlier capture time has been seen; it depends
        on nothing captured later, and neither on when or whether other questions are asked.

        Raises, at the first step:
            Overloaded: too many answers are under way, or the first word would come far too late.
            InvalidRequest: an empty question; a time too far ahead.
            NotFound, Conflict: the stream is closed, or was while this waited.
            EngineFailed, EngineDead, TooLarge: from the engine.
        """
        self._check_open()
        self.active_at_s = self._clock.now_s()
        return self._asker.ask(replace(question, stream_id=self.id))

    @property
    def last_event(self) -> int:
        """The number of the newest event."""
        return self._events.last_number

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
            fps=self._intake.fps(),
            tier=self.service.tier,
            quality_level=self.service.quality.level,
            closed=self.closed_reason,
            guarantee=self._opened.guarantee,
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
        if self._intake.pushed_s is None or looked_at_s is None:
            return looked_at_s if self._intake.pushed_s is None else self._intake.pushed_s
        return max(self._intake.pushed_s, looked_at_s)

    def _now_s(self) -> float:
        newest_s = self._newest_s
        if newest_s is None:
            return 0.0
        return newest_s + (self._clock.now_s() - self._intake.pushed_at_s)

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
        entry = self._intake.admit(frame, outcome, self._newest_s)
        self.active_at_s = self._clock.now_s()
        return entry

    def _offer(self, entry: Entry) -> None:
        for dropped, reason in self._mailbox.offer(entry):
            self._watcher.settle(dropped, FrameOutcome.DROPPED, reason)

    def _publish(self, event: StreamEvent) -> None:
        self._events.publish(event)
        if isinstance(event, ClipSeen) and self.is_live and not self.service.is_governed:
            wish = self._pace.note_lag(event.lag_s, self._clock.now_s())
            if wish is not None:
                self._events.publish(wish)
