"""One stream's way from its mailbox to the model: two loops that run side by side.

The first looks: it takes messages from the mailbox, has them decoded and compared in the pool, and
puts the clips in a short queue. The second hands clips to the engine, one at a time. When the
engine is slow the queue fills. Then pictures stay in the mailbox, where the newest win; coded video
has to be decoded on, but its pictures are passed over, so that it does not fall behind either. On
the virtual clock everything waits instead.

Before either, and again whenever the engine has been started anew, the stream is *caught up*: what
the engine does not remember and the journal still has is shown to it once more.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial

from onlooker.core.clock import Clock
from onlooker.core.errors import EngineFailed, EngineRestarting
from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, DropReason, EncodedFrame, FrameOutcome
from onlooker.core.metrics import Metrics
from onlooker.engine.interface import Remembered
from onlooker.engine.supervisor import EngineSupervisor
from onlooker.streams.events import ClipLost, ClipSeen, FrameAck, SceneChanged, StreamEvent
from onlooker.streams.journaling import KeptPicture, as_pictures
from onlooker.streams.mailbox import Barrier, Entry, Mailbox, Reached, SourceEnd
from onlooker.streams.perception.perceiver import Perceiver, Seen
from onlooker.streams.quality.service import StreamService
from onlooker.streams.restoring import Found, Opened
from onlooker.streams.state import Counters
from onlooker.watches.keeper import WatchKeeper

_log = logging.getLogger("onlooker.streams.watching")

BEHIND = (DropReason.MAILBOX_FULL, DropReason.LATE)
"""Why frames are dropped when the model does not keep up."""

CLIP_QUEUE = 1
"""Clips that wait for the engine beside the one it has. More would only be lag."""


class Watcher:
    """Runs one stream's perception and ingest. `run` ends only by cancellation or a failure."""

    def __init__(
        self,
        stream_id: StreamId,
        *,
        mailbox: Mailbox,
        perceiver: Perceiver,
        engine: EngineSupervisor,
        opened: Opened,
        pool: Executor,
        clock: Clock,
        metrics: Metrics,
        publish: Callable[[StreamEvent], None],
        keeper: WatchKeeper,
        is_live: bool,
        max_lag_s: float,
        service: StreamService,
    ) -> None:
        self._stream_id = stream_id
        self._mailbox = mailbox
        self._perceiver = perceiver
        self._engine = engine
        self._opened, self._remembered = opened, opened.remembered
        self._restorer = opened.restorer
        self._journal = None if opened.restorer is None else opened.restorer.journal
        self._pool = pool
        self._clock = clock
        self._metrics = metrics
        self._publish = publish
        self._keeper = keeper
        self._is_live = is_live
        self._max_lag_s = max_lag_s
        self._service = service
        self._clips: asyncio.Queue[Clip] = asyncio.Queue(CLIP_QUEUE)
        self._clip_taken = asyncio.Event()
        self._num_made = 0
        self._num_done = 0
        self._progress = asyncio.Condition()
        self._caught_up_in_life = 0
        self._next_index = 0
        self._lost_until_s = -math.inf
        self._job: asyncio.Future[_Looked] | None = None
        self.counters = Counters()
        self.seen_until_s = opened.remembered.seen_until_s
        """End of the newest clip that the model has seen."""
        self._oldest_at_s: float | None = None
        self._num_lost = 0
        self.lag_s = 0.0
        """Arrival of the newest seen clip's last frame to the end of its prefill."""

    async def run(self) -> None:
        """Watch until cancelled. Raises what ended it: `EngineDead` or a fault of ours."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stay_caught_up())
            tasks.create_task(self._look())
            tasks.create_task(self._ingest())

    @property
    def is_caught_up(self) -> bool:
        """Whether the engine takes work and remembers all that it can of this stream."""
        return self._engine.ready() and self._caught_up_in_life == self._engine.life

    async def wait_caught_up(self) -> None:
        """Return when `is_caught_up`."""
        async with self._progress:
            await self._progress.wait_for(lambda: self.is_caught_up)

    @property
    def is_busy(self) -> bool:
        """Whether frames are being looked at or clips are on their way to the model."""
        is_looking = self._job is not None and not self._job.done()
        return is_looking or self._num_done < self._num_made

    @property
    def behind_s(self) -> float:
        """How long the oldest clip that is not yet seen has waited; 0 when there is none."""
        if self._oldest_at_s is None:
            return 0.0
        return max(0.0, self._clock.now_s() - self._oldest_at_s)

    @property
    def num_unseen(self) -> int:
        """Messages that wait, and clips on their way to the model."""
        return len(self._mailbox) + self._num_ahead

    def take_lost(self) -> int:
        """Frames lost since the last call because the model was behind."""
        lost, self._num_lost = self._num_lost, 0
        return lost

    def lacks_any(self, since_s: float) -> bool:
        """Whether clips were lost that an answer about the time from `since_s` on could need; an
        engine that remembers what left its window could need all."""
        return self._lost_until_s >= (since_s if self._engine.info.mode == "resend" else 0.0)

    async def wait_ingested(self, num_clips: int) -> None:
        """Return when the engine is done with the first `num_clips` clips."""
        async with self._progress:
            await self._progress.wait_for(lambda: self._num_done >= num_clips)

    def settle(
        self,
        entry: Entry,
        outcome: FrameOutcome,
        reason: DropReason | None,
        guarantee: Guarantee | None = None,
    ) -> None:
        """Tell everyone what became of a message; exactly once for each. `guarantee`: of KEPT."""
        counters, message = self.counters, entry.message
        if reason is not None:
            self._num_lost += reason in BEHIND
            counters.dropped[reason] = counters.dropped.get(reason, 0) + 1
        elif outcome is FrameOutcome.KEPT:
            counters.kept += 1
        else:
            counters.skipped += 1
        self._metrics.frames.labels(outcome=outcome, reason=reason or "").inc()
        ack = FrameAck(message.sequence, outcome, reason, message.capture_s, guarantee)
        if entry.outcome is not None and not entry.outcome.done():
            entry.outcome.set_result(ack)
        self._publish(ack)

    async def close(self) -> None:
        """Let go of what waits and of the decoders; after `run` has ended."""
        for item in self._mailbox.clear():
            if isinstance(item, Entry):
                self.settle(item, FrameOutcome.DROPPED, DropReason.STREAM_CLOSED)
        if self._job is not None:  # a thread may still be busy with this stream's decoder
            with contextlib.suppress(Exception):
                await self._job
        await asyncio.get_running_loop().run_in_executor(self._pool, self._perceiver.close)

    async def _look(self) -> None:
        await self.wait_caught_up()
        while True:
            if self._is_live and self._mailbox.is_still_next():
                await self._wait_for_engine()
            item = self._mailbox.take()
            if item is None:
                await self._wait_for_more()
            elif isinstance(item, Barrier):
                self._reach(item)
            elif isinstance(item, SourceEnd):
                seen, pictures = await self._in_pool(self._end_source)
                await self._keep(pictures)
                await self._hand_on(seen.clips)
            else:
                await self._look_at(item)

    async def _wait_for_more(self) -> None:
        """Wait for the line to move; live, no longer than a lone frame may wait for a partner."""
        expires_s, newest_s = self._perceiver.expires_s, self._perceiver.newest_s
        if not self._is_live or expires_s is None or newest_s is None:
            await self._mailbox.wait()
            return
        arrived = asyncio.ensure_future(self._mailbox.wait())
        expired = asyncio.ensure_future(self._clock.sleep(expires_s - newest_s))
        try:
            await asyncio.wait((arrived, expired), return_when=asyncio.FIRST_COMPLETED)
            if not arrived.done():
                await self._hand_on(self._perceiver.flush())
        finally:
            arrived.cancel()
            expired.cancel()

    async def _wait_for_engine(self) -> None:
        """Wait until no clip waits for the engine, and the next would not come too late."""
        while self._clips.full() or self._service.should_hold(self._num_ahead):
            self._clip_taken.clear()
            await self._clip_taken.wait()

    @property
    def _num_ahead(self) -> int:
        return self._num_made - self._num_done

    def _reach(self, barrier: Barrier) -> None:
        pending = self._perceiver.pending
        if pending is not None and pending.end_s > barrier.at_s:
            pending = None
        if not barrier.reached.done():
            newest_s = self._perceiver.newest_s or 0.0
            barrier.reached.set_result(Reached(self._num_made, pending, newest_s))

    async def _look_at(self, entry: Entry) -> None:
        message = entry.message
        if self._is_live and message.codec.is_still and self._is_late(message):
            self.settle(entry, FrameOutcome.DROPPED, DropReason.LATE)
            return
        try:
            is_hurried = self._is_live and not message.codec.is_still and self._clips.full()
            seen, pictures = await self._in_pool(partial(self._see, entry, is_hurried=is_hurried))
            guarantee = await self._keep(pictures)
        except BaseException:
            self.settle(entry, FrameOutcome.DROPPED, DropReason.STREAM_CLOSED)
            raise
        if seen.reason is DropReason.UNDECODABLE:
            _log.info("a message could not be decoded", extra={"detail": seen.detail})
        is_kept = seen.outcome is FrameOutcome.KEPT
        self.settle(entry, seen.outcome, seen.reason, guarantee if is_kept else None)
        for at_s in seen.scenes_s:
            self._publish(SceneChanged(at_s))
        await self._hand_on(seen.clips)

    async def _keep(self, pictures: list[KeptPicture]) -> Guarantee:
        """Have what was kept survive as far as may be, before anybody is told that it was kept."""
        return Guarantee.NONE if self._journal is None else await self._journal.append(pictures)

    def _is_late(self, message: EncodedFrame) -> bool:
        waited_s = self._clock.now_s() - message.received_at_s
        return waited_s > self._max_lag_s or self._service.is_too_late(
            age_s=waited_s, has_newer=len(self._mailbox) > 0, num_ahead=self._num_ahead
        )

    def _see(self, entry: Entry, *, is_hurried: bool) -> "_Looked":
        started_s = self._clock.now_s()
        seen = self._perceiver.see(
            entry.message, follows_gap=entry.follows_gap, is_hurried=is_hurried
        )
        took_s = self._clock.now_s() - started_s
        codec = entry.message.codec.name.lower()
        self._metrics.decode_seconds.labels(codec=codec).observe(took_s)
        return seen, [] if self._journal is None else as_pictures(seen.kept, entry.message)

    def _end_source(self) -> "_Looked":
        seen = self._perceiver.end_source()
        return seen, [] if self._journal is None else as_pictures(seen.kept, None)

    async def _in_pool(self, work: Callable[[], "_Looked"]) -> "_Looked":
        self._job = asyncio.get_running_loop().run_in_executor(self._pool, work)
        return await asyncio.shield(self._job)

    async def _hand_on(self, clips: list[Clip]) -> None:
        for clip in clips:
            self._num_made += 1
            await self._clips.put(clip)

    async def _ingest(self) -> None:
        while True:
            clip = await self._clips.get()
            self._clip_taken.set()
            self._oldest_at_s = clip.frames[1].received_at_s
            await self._show(clip)
            self._oldest_at_s = None
            async with self._progress:
                self._num_done += 1
                self._progress.notify_all()
            self._clip_taken.set()

    async def _show(self, clip: Clip) -> None:
        """Have the engine take a clip, in this life or another one."""
        while True:
            await self.wait_caught_up()
            started_s = self._clock.now_s()
            try:
                # A life may have ended after it stored the clip and before it said so.
                if not self._remembered.has(clip.clip_index):
                    await self._engine.ingest(clip, self._service.clip_care(clip))
            except EngineRestarting:
                continue
            except EngineFailed as error:
                self._lose(clip, error.message)
            else:
                self._note_seen(clip, started_s)
                if self._is_live:
                    self._keeper.on_clip(clip)
                else:
                    await self._keeper.see(clip)
            self._pass(clip.clip_index + 1)
            return

    # ---- catching up

    async def _stay_caught_up(self) -> None:
        """After the start, and after each restart of the engine: open the stream with it again and
        show it what it no longer knows."""
        life, remembered = self._opened.life, self._opened.remembered
        while True:
            with contextlib.suppress(EngineRestarting):
                await self._catch_up(remembered)
                async with self._progress:
                    self._caught_up_in_life = life
                    self._progress.notify_all()
            life, remembered = await self._open_again(life)

    async def _open_again(self, after: int) -> tuple[int, Remembered]:
        while True:
            after = await self._engine.next_life(after)
            with contextlib.suppress(EngineRestarting):
                return after, await self._engine.open_stream(self._stream_id)

    async def _catch_up(self, remembered: Remembered) -> None:
        is_first = not self._caught_up_in_life
        self._remembered = remembered
        below = None if is_first else self._next_index
        found = Found(remembered.next_clip_index)
        if self._restorer is not None:
            found = await self._restorer.restore(remembered, below, self._show_again)
        if is_first:
            newest_s = found.newest_s if found.newest_s is not None else self.seen_until_s
            self._perceiver.resume(found.next_clip_index, found.waiting, newest_s)
            self._pass(found.next_clip_index)
            self.counters.clips += found.next_clip_index - len(remembered.missing - found.filled)
        else:
            num_lost = self._next_index - remembered.next_clip_index - found.num_after
            if self._engine.info.mode == "resend":  # which forgets all that left its window
                num_lost = min(num_lost, self._engine.info.max_clips)
            if num_lost > 0:
                _log.warning("the engine lost clips when it died", extra={"clips": num_lost})
                self._count_lost(num_lost, self.seen_until_s)

    async def _show_again(self, clip: Clip) -> None:
        try:
            await self._engine.ingest(clip, self._service.clip_care(clip))
        except EngineFailed as error:
            self._lose(clip, error.message)
            return
        self._metrics.clips.labels(result="restored").inc()
        self.seen_until_s = max(clip.end_s, self.seen_until_s or 0.0)
        self._publish(ClipSeen(clip.clip_index, clip.start_s, clip.end_s, self.lag_s))

    # ---- what became of clips

    def _pass(self, next_index: int) -> None:
        """The engine is done with all clips below `next_index`."""
        self._next_index = next_index
        if self._journal is not None:
            self._journal.seen_below = next_index

    def _lose(self, clip: Clip, reason: str) -> None:
        self._count_lost(1, clip.end_s)
        if self._journal is not None:  # shown again it would fail again
            self._journal.settle((clip.clip_index,))
        self._publish(ClipLost(clip.clip_index, clip.start_s, clip.end_s, reason))

    def _count_lost(self, num_clips: int, until_s: float | None) -> None:
        self.counters.clips_lost += num_clips
        self._lost_until_s = max(self._lost_until_s, until_s or 0.0)
        self._metrics.clips.labels(result="lost").inc(num_clips)

    def _note_seen(self, clip: Clip, started_s: float) -> None:
        now_s = self._clock.now_s()
        self.counters.clips += 1
        self.seen_until_s = clip.end_s
        self.lag_s = max(0.0, now_s - clip.frames[1].received_at_s)
        self._service.note_ingest(now_s - started_s)
        self._metrics.clips.labels(result="seen").inc()
        self._metrics.ingest_seconds.observe(now_s - started_s)
        self._metrics.frame_lag_seconds.observe(self.lag_s)
        self._publish(ClipSeen(clip.clip_index, clip.start_s, clip.end_s, self.lag_s))


_Looked = tuple[Seen, list[KeptPicture]]
