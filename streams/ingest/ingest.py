"""`Ingest`: one stream's way from a message to a clip that the model has seen.

    push ─► Intake ─► Mailbox ─► ClipMaker ─► Presenter ─► engine
            checks    waits      decodes,   one clip at
            and thins            compares   a time
                                    └─► journal

`Tally` counts what becomes of everything, and tells it. When the engine is slow its short queue
fills, the clip maker stops, and the mailbox drops the oldest pictures.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from onlooker.core.media import Clip, Cover, DropReason, FrameMessage, FrameOutcome
from onlooker.scheduler.gateway_meter import GatewayWork
from onlooker.streams.diary.diary_writer import DiaryWriter
from onlooker.streams.events import FrameAck, StreamEvent
from onlooker.streams.ingest.clip_maker import ClipMaker
from onlooker.streams.ingest.frame_spans import FrameSpans
from onlooker.streams.ingest.intake import Intake
from onlooker.streams.ingest.mailbox import Barrier, Entry, Mailbox, Reached, SourceEnd
from onlooker.streams.ingest.presenter import Presenter
from onlooker.streams.ingest.tally import Tally
from onlooker.streams.quality.strain import Strain
from onlooker.streams.quality.stream_quality import StreamQuality
from onlooker.streams.restorer import Opened
from onlooker.streams.shared import Shared
from onlooker.streams.state import StreamTerms
from onlooker.watches.keeper import WatchKeeper

Outcome = asyncio.Future[FrameAck]


class Ingest:
    """One stream's ingest. All calls are made on the event loop. `run` ends only by cancellation or
    a failure.

    Args:
        opened: how the stream begins.
        watches: are told of each clip that the model has seen.
        diary: has sentences written about those clips; None where no diary is kept.
        publish: tells the stream's viewers.
    """

    def __init__(
        self,
        terms: StreamTerms,
        shared: Shared,
        *,
        opened: Opened,
        quality: StreamQuality,
        watches: WatchKeeper,
        publish: Callable[[StreamEvent], None],
        diary: DiaryWriter | None = None,
    ) -> None:
        self.quality = quality
        self._account = shared.accounts.of_stream(terms.stream_id)
        self.tally = Tally(
            shared.metrics,
            publish,
            seen_until_s=opened.remembered.seen_until_s,
            totals=self._account.totals,
        )
        self._clock, self._engine = shared.clock, shared.engine
        self._intake = Intake(terms, shared, quality=quality, pushed_s=opened.newest_s)
        self._mailbox = Mailbox.of(shared.settings)
        spans = None
        if shared.tracer is not None:
            spans = FrameSpans(shared.tracer, terms.stream_id)
        self._presenter = Presenter(
            terms,
            shared,
            opened=opened,
            quality=quality,
            tally=self.tally,
            watches=watches,
            diary=diary,
            spans=spans,
        )
        self._clips = ClipMaker(
            terms,
            shared,
            mailbox=self._mailbox,
            presenter=self._presenter,
            quality=quality,
            tally=self.tally,
            journal=opened.journal,
            privacy=opened.privacy,
            spans=spans,
        )
        self._is_closed = False

    async def run(self) -> None:
        """Make and show clips until cancelled. Raises what ended it: `EngineDead` or our own
        fault."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._presenter.run())
            tasks.create_task(self._clips.run())

    async def close(self) -> None:
        """Let go of what waits and of the decoders. Call it after `run` has ended."""
        self._is_closed = True
        for item in self._mailbox.clear():
            if isinstance(item, Entry):
                self.tally.settle(item, FrameOutcome.DROPPED, DropReason.STREAM_CLOSED)
        self.tally.close()
        await self._clips.close()

    # ---- for sources

    def begin_source(self) -> None:
        """Begin another source, whose time is shifted to follow what was seen before it."""
        self._intake.begin_source()

    def end_source(self) -> None:
        """Note that nothing more comes from the source that fed the stream so far."""
        self._mailbox.put(SourceEnd())

    def push(self, message: FrameMessage, outcome: Outcome | None = None) -> None:
        """Take a message at once; others may be dropped for it, or it for others. `outcome` is told
        what became of it.

        Raises:
            InvalidRequest: the capture time is negative or not finite.
        """
        if (entry := self._admitted(message, outcome)) is not None:
            for dropped, reason in self._mailbox.offer(entry):
                self.tally.settle(dropped, FrameOutcome.DROPPED, reason)

    async def push_in_turn(self, message: FrameMessage, outcome: Outcome) -> None:
        """Take a message as soon as there is room for it and its tenant may send one more, so that
        none is dropped. One call at a time.

        Raises: as `push`.
        """
        if (wait_s := self._account.frame_wait_s()) > 0:
            await self._clock.sleep(wait_s)
        # What was admitted is put in at once: a sender that goes away while it waits here has lost
        # nothing that counts as received.
        await self._mailbox.wait_room(Entry(message, outcome))
        if (entry := self._admitted(message, outcome)) is not None:
            if self._is_closed:
                self.tally.settle(entry, FrameOutcome.DROPPED, DropReason.STREAM_CLOSED)
            else:
                for dropped, reason in self._mailbox.offer(entry):
                    self.tally.settle(dropped, FrameOutcome.DROPPED, reason)

    def _admitted(self, message: FrameMessage, outcome: Outcome | None) -> Entry | None:
        """Check and count a message; return its entry, or None when its outcome is known."""
        is_useless = self._mailbox.lacks_key(message)
        received = self._intake.admit(message, self.newest_s, is_useless=is_useless)
        self.tally.note_received()
        if received.jump is not None:
            self.tally.note_jump(received.jump)
        entry = Entry(received.message, outcome)
        if received.outcome is None:
            return entry
        if received.outcome is FrameOutcome.DROPPED:
            self._mailbox.note_gap(message)
        self.tally.settle(entry, received.outcome, received.reason)
        return None

    # ---- for questions

    def reach(self, at_s: float) -> "asyncio.Future[Reached]":
        """Take a place in the line of messages, before the first that was captured after `at_s`.
        The future is done when all before it have been looked at."""
        reached: asyncio.Future[Reached] = asyncio.get_running_loop().create_future()
        self._mailbox.put_barrier(Barrier(at_s, reached))
        return reached

    async def wait_shown(self, num_clips: int) -> None:
        """Return when the engine is done with the first `num_clips` clips."""
        await self._presenter.wait_shown(num_clips)

    @property
    def is_caught_up(self) -> bool:
        """Whether the engine takes work and remembers all that it can of this stream."""
        return self._presenter.is_caught_up

    async def wait_caught_up(self) -> None:
        """Return when `is_caught_up`."""
        await self._presenter.wait_caught_up()

    @property
    def pending(self) -> Clip | None:
        """The frame that waits for its partner, as the clip it would be alone, as far as is known
        without waiting."""
        return self._clips.pending

    @property
    def covers(self) -> tuple[Cover, ...]:
        """How long the newest clips stand for what was there, as far as was looked."""
        return self._clips.covers

    def lacks_any(self, since_s: float) -> bool:
        """Whether clips were lost that an answer about the time from `since_s` on could need. An
        engine that remembers what left its window could need any of them."""
        return self.tally.lost_until_s >= (since_s if self._engine.info.mode == "resend" else 0.0)

    # ---- for whoever deletes

    @property
    def next_clip_index(self) -> int:
        """The index after that of the newest clip that the engine is done with."""
        return self._presenter.next_clip_index

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[None]:
        """Have no clip shown to the engine while the block runs."""
        async with self._presenter.turn:
            yield

    # ---- how it fares

    @property
    def newest_s(self) -> float | None:
        """Newest stream time that came in or was looked at; None before the first frame."""
        pushed_s, looked_s = self._intake.pushed_s, self._clips.newest_s
        if pushed_s is None or looked_s is None:
            return looked_s if pushed_s is None else pushed_s
        return max(pushed_s, looked_s)

    def now_s(self) -> float:
        """Stream time now, which goes on between frames; 0 before the first frame."""
        newest_s = self.newest_s
        if newest_s is None:
            return 0.0
        return newest_s + (self._clock.now_s() - self._intake.pushed_at_s)

    def fps(self) -> float:
        """Messages a second that come in."""
        return self._intake.fps()

    @property
    def num_waiting(self) -> int:
        """Messages that wait to be decoded."""
        return len(self._mailbox)

    @property
    def is_busy(self) -> bool:
        """Whether messages wait or are looked at, or clips are on their way to the model."""
        is_waiting = self._mailbox.has_items  # the end of a source may still make a clip
        return is_waiting or self._clips.is_busy or self._presenter.num_ahead > 0

    def strain(self) -> Strain:
        """What the governor must know of how the stream fares."""
        tally = self.tally
        return Strain(
            source_fps=self._intake.settled_fps(),
            behind_s=self._presenter.behind_s,
            lag_s=tally.lag_s,
            num_unseen=len(self._mailbox) + self._presenter.num_ahead,
            num_lost=tally.num_behind,
            work=GatewayWork(
                offered=tally.received, looked=tally.kept + tally.skipped, clips=tally.clips
            ),
        )
