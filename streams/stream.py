"""A stream: one video source, all that is remembered of it, and any number of viewers.

A stream is not a connection. It is fed by whoever holds its source lease, and stays until it is
closed, its idle limit passes, or its own task fails; no failure of one reaches another.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from enum import Enum
from typing import Literal

from onlooker.core.errors import (
    InvalidRequest,
    NotFound,
    Overloaded,
    ServiceError,
    ShuttingDown,
)
from onlooker.core.ids import StreamId, new_id, split_stream_id
from onlooker.core.media import Cover, FrameMessage
from onlooker.engine.interface import AnswerEvent, Question
from onlooker.streams.alert_courier import AlertCourier
from onlooker.streams.alert_ledger import AlertLedger
from onlooker.streams.asker import Asker
from onlooker.streams.belongings import WATCHES, Belongings
from onlooker.streams.diary.diary_writer import DiaryWriter
from onlooker.streams.diary.periods import WallClock
from onlooker.streams.events import (
    FrameAck,
    NameplateChanged,
    PaceChanged,
    PrivacyChanged,
    StreamEnded,
)
from onlooker.streams.fanout import EventLog, Subscription
from onlooker.streams.forgetter import ForgetReport, Forgetter
from onlooker.streams.ingest.ingest import Ingest
from onlooker.streams.lease import SourceChange, SourceLease
from onlooker.streams.masks import Mask
from onlooker.streams.moments.moment_finder import MomentFinder
from onlooker.streams.nameplate import NameplateHolder
from onlooker.streams.perception.stream_time import TimeJump
from onlooker.streams.quality.governor import Governor
from onlooker.streams.question_slots import QuestionSlots
from onlooker.streams.restorer import Opened
from onlooker.streams.second_look import SecondLook
from onlooker.streams.shared import Shared
from onlooker.streams.source_leases import SourceLeases
from onlooker.streams.state import StreamOptions, StreamStatus, StreamTerms
from onlooker.watches.alert import Alert
from onlooker.watches.alert_spans import record_told
from onlooker.watches.keeper import MakeKeeper
from onlooker.watches.kept_watch import read_watches, watches_document
from onlooker.watches.options import WatchOptions
from onlooker.watches.outlets import Outlets
from onlooker.watches.watch import Watch

__all__ = ["Stream", "StreamOptions", "StreamStatus"]


class Parting(Enum):
    """What becomes of what belongs to a stream that is closed."""

    KEEP = "keep"
    FORGET = "forget"
    CUT = "cut"
    """Another server has, or may have, the stream: nothing more is written."""


class Stream:
    """One stream. Everything runs on the event loop; the hub makes it and runs it."""

    def __init__(
        self,
        stream_id: StreamId,
        options: StreamOptions,
        shared: Shared,
        *,
        opened: Opened,
        governor: Governor,
        make_keeper: MakeKeeper,
        slots: QuestionSlots,
        outlets: Outlets,
        belongings: Belongings,
        nameplate: NameplateHolder,
        ledger: AlertLedger,
    ) -> None:
        self.id, self.name = stream_id, split_stream_id(stream_id)[1]
        self.options = options
        terms = StreamTerms.of(stream_id, options, shared.settings)
        self.is_live = terms.is_live
        self.interval_s = terms.interval_s
        """Stream time between two frames that are looked at."""
        self._clock, self._tracer = shared.clock, shared.tracer
        self.account = shared.accounts.of_stream(stream_id)
        """What the stream's tenant may have and do."""
        self.created_wall_s = self._clock.wall_s()
        self.active_at_s = self._clock.now_s()
        """Clock time at which somebody last fed, watched or asked."""
        self._belongings, self._ledger = belongings, ledger
        self._events = EventLog.of(
            shared.settings, shared.metrics, ledger if ledger.is_kept else None
        )
        self.nameplate = nameplate
        """What people call the stream and say of it."""
        nameplate.on_change.append(lambda: self._events.publish(NameplateChanged()))
        self._courier = AlertCourier(
            stream_id,
            outlets,
            ledger=ledger,
            events=self._events,
            account=self.account,
            album=opened.album,
        )
        self._quality = governor.serve(terms, self._events.publish)
        self._opened = opened
        self.watches = make_keeper(
            stream_id,
            publish=self._events.publish,
            is_live=self.is_live,
            now_s=self._now_s,
            covers=self._covers,
            raise_alert=self._courier.bring,
            on_change=lambda watches: belongings.keep(WATCHES, watches_document(watches)),
            last_alert=ledger.last_alert,
        )
        """The keeper of the standing questions to this stream."""
        self.account.serve(self.name, self.watches.ids)
        self.wall = WallClock(
            is_known=self.is_live or options.zero_wall_s is not None, zone=shared.zone
        )
        """The clock by which the diary's quarters, hours and days go."""
        self.diary = opened.diary
        """The stream's diary; None where none is written."""
        self.writer = self._make_writer(shared)
        self.ingest = Ingest(
            terms,
            shared,
            opened=opened,
            quality=self._quality,
            watches=self.watches,
            diary=self.writer,
            publish=self._events.publish,
        )
        """The way of frames to the model; the governor reads there how the stream fares."""
        self._closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asker = Asker(
            shared=shared,
            slots=slots,
            governor=governor,
            is_live=self.is_live,
            zero_wall_s=options.zero_wall_s,
            quality=self._quality,
            ingest=self.ingest,
            publish=self._events.publish,
            closed=self._closed,
            moving=self._moving,
            account=self.account,
            forgotten=opened.privacy.forgotten,
            album=opened.album,
            nameplate=self.nameplate,
            moments=self._make_finder(shared),
            second_look=SecondLook(shared, opened.album),
        )
        self.privacy = opened.privacy
        """The stream's masks, how long it is kept, and what was deleted of it."""
        self._forgetter = Forgetter(
            stream_id,
            shared,
            privacy=opened.privacy,
            journal=opened.journal,
            album=opened.album,
            diary=opened.diary,
            writer=self.writer,
            ingest=self.ingest,
            asker=self._asker,
            events=self._events,
            watches=self.watches,
            forget_alerts=outlets.forget,
        )
        self.album = opened.album
        """The stream's pictures; None where none are kept."""
        self._leases = SourceLeases(
            self.name, self.ingest, clock=self._clock, publish=self._events.publish
        )
        self._turn = asyncio.Lock()
        self._has_more_aged = False
        self._is_moved = self._is_kept = False
        self.is_leaving = False
        """Whether the stream goes to another server once its answers have ended, and takes no more
        questions here."""

    # ---- the source

    def claim_source(
        self, owner: str, *, is_pulled: bool = False, is_opening: bool = False
    ) -> SourceLease:
        """Become the one who feeds this stream. `owner` names the source in errors and status;
        `is_opening`: no picture is at hand yet, and the holder of the lease tells when one is.

        When the new source's time starts before what the stream has seen, it is shifted to follow
        on, so that a camera that restarts at 0 can go on feeding its stream. Where the wall clock
        of stream time 0 was given, a live source is placed by the clock, and a recording is not
        moved: what was seen already is dropped.

        Raises:
            Conflict: another source feeds the stream.
            NotFound: the stream is closed.
        """
        self._check_open()
        lease = self._leases.take(owner, is_pulled=is_pulled, is_opening=is_opening)
        self.active_at_s = self._clock.now_s()
        lease.tell(SourceChange.BEGAN)
        return lease

    def note_time(self, jump: TimeJump) -> None:
        """Tell viewers that the source's time did not go on as it was expected to."""
        self.ingest.tally.note_jump(jump)

    def push(self, frame: FrameMessage, outcome: "asyncio.Future[FrameAck] | None" = None) -> None:
        """Take a live frame, encoded or as pixels of the engine's size; never waits. What becomes
        of it arrives as a `FrameAck`, and as `outcome`.

        Raises:
            InvalidRequest: the capture time is negative or not finite; the clock is virtual.
            NotFound: the stream is closed.
        """
        if not self.is_live:
            raise InvalidRequest(
                f"stream '{self.name}' runs on the virtual clock, where the sender waits: push_wait"
            )
        self._note_feeding()
        self.ingest.push(frame, outcome)

    async def push_wait(self, frame: FrameMessage) -> FrameAck:
        """Take a frame, wait for room (virtual clock) and for what becomes of it.

        Raises: as `push`.
        """
        outcome: asyncio.Future[FrameAck] = asyncio.get_running_loop().create_future()
        if self.is_live:
            self._note_feeding()
            self.ingest.push(frame, outcome)
            return await outcome
        async with self._turn:
            self._note_feeding()
            await self.ingest.push_in_turn(frame, outcome)
        return await outcome

    # ---- viewers

    def subscribe(
        self, *, max_events: int, after: int | None = None, wakes_for_all: bool = True
    ) -> Subscription:
        """Listen to what happens, from now on or from what is retained after event `after`; see
        `EventLog.subscribe`."""
        self.active_at_s = self._clock.now_s()
        return self._events.subscribe(
            max_events=max_events, after=after, wakes_for_all=wakes_for_all
        )

    def observe(self, *, max_events: int) -> Subscription:
        """Listen to what is retained and what happens, but for acknowledgements, without keeping
        the stream in use."""
        return self._events.subscribe(max_events=max_events, after=0, is_viewer=False)

    def note_told(self, alert: Alert, to: Literal["connection", "events"]) -> None:
        """Note that a subscriber has been told of an alert."""
        if self._tracer is not None:
            record_told(self._tracer, alert, to=to, outcome="told")

    def ask(self, question: Question) -> AsyncGenerator[AnswerEvent]:
        """Ask; yields deltas, then exactly one `AnswerEnd`. Close the generator to cancel.

        On the live clock a question without `Question.at_s` is about now. With it, or on the
        virtual clock, the answer waits until everything that came in with an earlier capture time
        has been seen; it depends on nothing captured later, and neither on when or whether other
        questions are asked.

        Raises, at the first step:
            Overloaded: too many answers are under way, or the first word would come far too late.
            InvalidRequest: the question is empty; its time is too far ahead.
            LimitReached: the tenant has asked as much as it may.
            NotFound, Conflict: the stream is closed, or was while this waited.
            ShuttingDown: it goes on at another server.
            EngineFailed, EngineDead, TooLarge: from the engine.
        """
        self._check_open()
        if self.is_leaving:
            raise self._goes_on()
        self.active_at_s = self._clock.now_s()
        return self._asker.ask(replace(question, stream_id=self.id))

    # ---- privacy

    async def set_masks(self, masks: Sequence[Mask]) -> None:
        """Mask these parts of every picture that is looked at from now on, beside what the server
        masks. What was seen before stays as it was: see `forget`. Returns once the masks would
        outlive the server.

        Raises:
            TooLarge: too many masks or corners.
            Overloaded, ServiceError: the masks are in force, but not kept.
            NotFound: the stream is closed.
        """
        self._check_open()
        self.privacy.set_masks(masks)
        self._events.publish(PrivacyChanged())
        await self._belongings.settle("the masks")

    async def make_watch(
        self,
        options: WatchOptions,
        watch_id: str | None = None,
        *,
        waits: bool = True,
        said_wall_s: float = 0.0,
    ) -> Watch:
        """Add a watch, and return once it would outlive the server. `waits`: False returns at once;
        it looks, and is kept when that can be done, which `keep_watches` waits for. `said_wall_s`:
        when its options were said, by the clock of whoever said so.

        Raises:
            LimitReached: the tenant has as many as it may.
            InvalidRequest, TooLarge, Conflict: as `WatchKeeper.create` does.
            Overloaded, ServiceError: it could not be kept, and so was not made: who tries again
                does not find it there, nor gets a second one.
        """
        watch_id = watch_id or new_id("watch")
        async with self.account.making_watch(self.name, watch_id):
            watch = self.watches.create(options, watch_id, said_wall_s=said_wall_s)
            try:
                if waits:
                    await self.keep_watches()
            except BaseException:  # whoever is cancelled is not told of it either
                with contextlib.suppress(NotFound):  # it was deleted meanwhile
                    self.watches.delete(watch_id)
                raise
        return watch

    async def drop_watch(self, watch_id: str) -> None:
        """Take a watch away, and return once that would outlive the server.

        Raises:
            NotFound: there is no watch of this id.
            Overloaded, ServiceError: it is gone, but comes back with a restart.
        """
        self.watches.delete(watch_id)
        await self.account.drop_watch(self.name, watch_id)
        await self.keep_watches()

    async def keep_watches(self) -> None:
        """Return once the watches as they are now would outlive the server.

        Raises:
            Overloaded, ServiceError: they look, but are not kept.
        """
        await self._belongings.settle("the watches")

    async def set_keep_for(self, keep_for_s: float | None) -> None:
        """Keep what the stream remembers for so many seconds; None: as the server does.

        Raises:
            InvalidRequest: longer than the server keeps anything.
            NotFound: the stream is closed.
            Overloaded, ServiceError: it is in force, but not kept.
        """
        self._check_open()
        self.privacy.set_keep_for(keep_for_s)
        self._events.publish(PrivacyChanged())
        await self._belongings.settle("keep_for_s")

    async def forget(
        self, start_s: float | None = None, end_s: float | None = None
    ) -> ForgetReport:
        """Delete all that is kept of a span of stream time, by default of all of it up to now. The
        stream goes on; answers under way are broken off.

        Raises:
            InvalidRequest: the span ends before it starts.
            NotFound: the stream is closed.
        """
        self._check_open()
        newest_s = max(self.ingest.newest_s or 0.0, self.ingest.tally.seen_until_s or 0.0)
        start_s = max(0.0, start_s or 0.0)
        end_s = newest_s if end_s is None else min(end_s, newest_s)
        if not (math.isfinite(start_s) and math.isfinite(end_s)) or end_s < start_s:
            raise InvalidRequest(
                f"a span ends after it starts, and starts before now; got {start_s:g} to {end_s:g} "
                f"s, and the stream is at {newest_s:g} s",
                param="from",
            )
        self.active_at_s = self._clock.now_s()
        report = await self._forgetter.forget(start_s, end_s)
        try:
            await self._belongings.settle("what was deleted")
        except (Overloaded, ServiceError):
            report = replace(report, unreached=(*report.unreached, "belongings"))
        return report

    async def forget_aged(self, *, max_clips: int) -> bool:
        """Delete what is older than the stream is kept, `max_clips` clips at most; returns whether
        there is more."""
        aged_s = self.privacy.aged_at(self._clock.wall_s())
        newest_s = self.ingest.tally.seen_until_s
        if aged_s is None or newest_s is None or self._closed.done():
            return False
        # What was seen last goes too once it is old, and what comes next is newer.
        until_s = min(aged_s, math.nextafter(newest_s, math.inf))
        is_done = until_s <= self.privacy.forgotten.aged_until_s
        if is_done and not self._has_more_aged:
            return False
        report = await self._forgetter.forget_aged(until_s, max_clips=max_clips)
        self._has_more_aged = report.has_more
        return report.has_more

    def stream_s(self, wall_s: float, *, param: str) -> float:
        """The stream time that was at a wall time, before which nothing may be known: then it is
        minus infinity. `param` is what gave the wall time.

        Raises:
            InvalidRequest: the stream does not know.
        """
        if self.options.zero_wall_s is not None:
            return wall_s - self.options.zero_wall_s
        if not self.is_live or not self.privacy.wall.anchors:
            raise InvalidRequest(
                f"stream '{self.name}' does not know the wall times of its frames: give seconds of "
                "stream time",
                param=param,
            )
        found_s = self.privacy.wall.until(wall_s)
        return -math.inf if found_s is None else found_s

    @property
    def last_event(self) -> int:
        """The number of the newest event."""
        return self._events.last_number

    @property
    def pace(self) -> PaceChanged:
        """What the server would like to be sent now."""
        return self._quality.pace

    @property
    def closed_reason(self) -> str | None:
        return self._closed.result() if self._closed.done() else None

    @property
    def is_in_use(self) -> bool:
        """Whether somebody listens, asks, waits to feed it, or the model is not done with it; also
        while the server pulls its source, which may be lost and come back."""
        return bool(
            self._events.num_subscribers
            or self._leases.is_pulled
            or self._asker.num_active
            or self._turn.locked()
            or self.ingest.is_busy
            or self._courier.is_busy
        )

    def status(self) -> StreamStatus:
        """The stream's state and counters now."""
        ingest, tally = self.ingest, self.ingest.tally
        return StreamStatus(
            stream_id=self.id,
            clock="live" if self.is_live else "virtual",
            created_wall_s=self.created_wall_s,
            zero_wall_s=self.options.zero_wall_s,
            metadata=dict(self.options.metadata),
            nameplate=self.nameplate.plate,
            has_reference=self.nameplate.reference is not None,
            received=tally.received,
            kept=tally.kept,
            skipped=tally.skipped,
            dropped=dict(tally.dropped),
            waiting=ingest.num_waiting,
            clips=tally.clips,
            clips_lost=tally.clips_lost,
            newest_s=ingest.newest_s,
            seen_until_s=tally.seen_until_s,
            lag_s=tally.lag_s,
            source=self._leases.owner,
            last_source=self._leases.last,
            trouble=tally.trouble,
            trouble_since_s=tally.trouble_since_s,
            subscribers=self._events.num_subscribers,
            questions=self._asker.num_active,
            fps=ingest.fps(),
            tier=self._quality.tier,
            quality_level=self._quality.rung.level,
            closed=self.closed_reason,
            guarantee=self._opened.guarantee,
            masks=self.privacy.masks,
            keep_for_s=self.privacy.keep_for_s,
            forgotten_until_s=self.privacy.forgotten_until_s,
        )

    # ---- for the hub

    async def run(self) -> None:
        """Take in frames and watch until cancelled; raises what ended it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.ingest.run())
            tasks.create_task(self.watches.run())
            if self.writer is not None:
                tasks.create_task(self.writer.run())

    def keep_again(self) -> None:
        """Have what belongs to the stream kept once more, since it was lost where it was kept."""
        self._belongings.keep_again()

    def go_on(self) -> None:
        """Take up the watches of an earlier owner, and the alerts that wait for outlets."""
        self.watches.restore(read_watches(self._belongings.documents.get(WATCHES, b"")))
        self._courier.go_on(self.watches)

    @property
    def num_answers(self) -> int:
        """Answers about this stream that are under way."""
        return self._asker.num_active

    def mark_closed(self, reason: str, *, is_moved: bool) -> None:
        """Take nothing new, and break off what is under way. `is_moved`: the stream goes on at
        another server. Idempotent."""
        if not self._closed.done():
            self._is_moved = is_moved
            self._closed.set_result(reason)

    async def close(self, parting: Parting) -> None:
        """Let go of what waits. Called once by the hub, which has stopped `run` and marked the
        stream as closed before, and tells the viewers after; use `StreamHub.close_stream`."""
        self._leases.clear()
        self._is_kept = self.options.persistent and parting is not Parting.FORGET
        if self.writer is not None and parting is Parting.KEEP:
            await self.writer.close()
        await self.watches.close()
        await self.ingest.close()
        if parting is Parting.CUT:
            await self._belongings.cut()
        else:
            await self._belongings.flush()  # alerts that are being kept are told before the end
        if parting is not Parting.FORGET and self._ledger.is_kept:
            await self._courier.let_go()
        if parting is Parting.KEEP:
            self._ledger.end()
        elif parting is Parting.FORGET:
            self._belongings.clear()
        await self._belongings.close()

    @property
    def must_be_cleared(self) -> bool:
        """Whether what belonged to it was to be deleted as it was closed, and may be there."""
        return self._belongings.must_be_cleared

    def tell_end(self) -> None:
        """Tell the viewers that the stream is over, or goes on at another server."""
        reason = self.closed_reason
        assert reason is not None
        self._events.publish(StreamEnded(reason, self._is_moved, self._is_kept))

    # ---- inside

    def _make_writer(self, shared: Shared) -> DiaryWriter | None:
        if self.diary is None:
            return None
        return DiaryWriter(
            self.id,
            self.diary,
            engine=shared.engine,
            clock=shared.clock,
            pool=shared.pool,
            is_strained=lambda: self._quality.rung.level > 0,
            wall=self.wall,
            is_live=self.is_live,
        )

    def _make_finder(self, shared: Shared) -> MomentFinder | None:
        if self.diary is None or self.writer is None:
            return None
        return MomentFinder(
            self.diary,
            self.writer.summaries,
            settle=self.writer.settle,
            settings=shared.settings.moments,
            clock=shared.clock,
            is_live=self.is_live,
        )

    def _now_s(self) -> float:
        return self.ingest.now_s()

    def _covers(self) -> tuple[Cover, ...]:
        """What is known of the newest clips; on the virtual clock nothing, since how far was looked
        when the model has seen a clip is chance there."""
        return self.ingest.covers if self.is_live else ()

    def _check_open(self) -> None:
        if (moving := self._moving()) is not None:
            raise moving
        if self._closed.done():
            raise NotFound(f"stream '{self.name}' is closed: {self.closed_reason}", param="stream")

    def _moving(self) -> ShuttingDown | None:
        return self._goes_on() if self._is_moved else None

    def _goes_on(self) -> ShuttingDown:
        return ShuttingDown(f"stream '{self.name}' goes on at another server: try again")

    def _note_feeding(self) -> None:
        self._check_open()
        self.active_at_s = self._clock.now_s()
