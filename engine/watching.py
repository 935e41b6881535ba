"""One stream's way from its mailbox to the model: two loops that run side by side.

The first looks: it takes messages from the mailbox, has them decoded and compared in the pool, and
puts the clips in a short queue. The second hands clips to the engine, one at a time. When the
engine is slow the queue fills. Then pictures stay in the mailbox, where the newest win; coded video
has to be decoded on, but its pictures are passed over, so that it does not fall behind either. On
the virtual clock everything waits instead.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from onlooker.core.clock import Clock
from onlooker.core.errors import EngineFailed
from onlooker.core.media import Clip, DropReason, EncodedFrame, FrameOutcome
from onlooker.core.metrics import Metrics
from onlooker.engine.events import ClipLost, ClipSeen, FrameAck, SceneChanged, StreamEvent
from onlooker.engine.interface import Engine
from onlooker.engine.mailbox import Barrier, Entry, Mailbox, Reached, SourceEnd
from onlooker.engine.perception.perceiver import Perceiver, Seen
from onlooker.engine.service import StreamService
from onlooker.engine.watches.keeper import WatchKeeper

_log = logging.getLogger("onlooker.engine.watching")

BEHIND = (DropReason.MAILBOX_FULL, DropReason.LATE)
"""Why frames are dropped when the model does not keep up."""

CLIP_QUEUE = 1
"""Clips that wait for the engine beside the one it has. More would only be lag."""


@dataclass(slots=True)
class Counters:
    """What became of a stream's frames and clips, since it was opened."""

    received: int = 0
    kept: int = 0
    skipped: int = 0
    dropped: dict[DropReason, int] = field(default_factory=dict)
    clips: int = 0
    clips_lost: int = 0


class Watcher:
    """Runs one stream's perception and ingest. `run` ends only by cancellation or a failure."""

    def __init__(
        self,
        *,
        mailbox: Mailbox,
        perceiver: Perceiver,
        engine: Engine,
        pool: Executor,
        clock: Clock,
        metrics: Metrics,
        publish: Callable[[StreamEvent], None],
        keeper: WatchKeeper,
        is_live: bool,
        max_lag_s: float,
        service: StreamService,
    ) -> None:
        self._mailbox = mailbox
        self._perceiver = perceiver
        self._engine = engine
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
        self._job: asyncio.Future[Seen] | None = None
        self.counters = Counters()
        self.seen_until_s: float | None = None
        """End of the newest clip that the model has seen."""
        self._oldest_at_s: float | None = None
        self._num_lost = 0
        self.lag_s = 0.0
        """Arrival of the newest seen clip's last frame to the end of its prefill."""

    async def run(self) -> None:
        """Watch until cancelled. Raises what ended it: `EngineDead` or a fault of ours."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look())
            tasks.create_task(self._ingest())

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
        return len(self._mailbox) + self._num_made - self._num_done

    def take_lost(self) -> int:
        """Frames lost since the last call because the model was behind."""
        lost, self._num_lost = self._num_lost, 0
        return lost

    async def wait_ingested(self, num_clips: int) -> None:
        """Return when the engine is done with the first `num_clips` clips."""
        async with self._progress:
            await self._progress.wait_for(lambda: self._num_done >= num_clips)

    def settle(self, entry: Entry, outcome: FrameOutcome, reason: DropReason | None) -> None:
        """Tell everyone what became of a message; exactly once for each."""
        counters, message = self.counters, entry.message
        if reason is not None:
            self._num_lost += reason in BEHIND
            counters.dropped[reason] = counters.dropped.get(reason, 0) + 1
        elif outcome is FrameOutcome.KEPT:
            counters.kept += 1
        else:
            counters.skipped += 1
        self._metrics.frames.labels(outcome=outcome, reason=reason or "").inc()
        ack = FrameAck(message.sequence, outcome, reason, message.capture_s)
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
        while True:
            if self._is_live and self._mailbox.is_still_next():
                await self._wait_for_engine()
            item = self._mailbox.take()
            if item is None:
                await self._wait_for_more()
            elif isinstance(item, Barrier):
                self._reach(item)
            elif isinstance(item, SourceEnd):
                await self._hand_on((await self._in_pool(self._perceiver.end_source)).clips)
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
        """Wait until no clip waits for the engine."""
        while self._clips.full():
            self._clip_taken.clear()
            await self._clip_taken.wait()

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
            seen = await self._in_pool(partial(self._see, entry, is_hurried=is_hurried))
        except BaseException:
            self.settle(entry, FrameOutcome.DROPPED, DropReason.STREAM_CLOSED)
            raise
        if seen.reason is DropReason.UNDECODABLE:
            _log.info("a message could not be decoded", extra={"detail": seen.detail})
        self.settle(entry, seen.outcome, seen.reason)
        for at_s in seen.scenes_s:
            self._publish(SceneChanged(at_s))
        await self._hand_on(seen.clips)

    def _is_late(self, message: EncodedFrame) -> bool:
        waited_s = self._clock.now_s() - message.received_at_s
        has_newer = len(self._mailbox) > 0
        return waited_s > self._max_lag_s or self._service.is_too_late(
            age_s=waited_s, has_newer=has_newer
        )

    def _see(self, entry: Entry, *, is_hurried: bool) -> Seen:
        started_s = self._clock.now_s()
        seen = self._perceiver.see(
            entry.message, follows_gap=entry.follows_gap, is_hurried=is_hurried
        )
        took_s = self._clock.now_s() - started_s
        codec = entry.message.codec.name.lower()
        self._metrics.decode_seconds.labels(codec=codec).observe(took_s)
        return seen

    async def _in_pool(self, work: Callable[[], Seen]) -> Seen:
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
            started_s = self._clock.now_s()
            try:
                await self._engine.ingest(clip, self._service.clip_care(clip))
            except EngineFailed as error:
                self._lose(clip, error.message)
            else:
                self._note_seen(clip, started_s)
                if self._is_live:
                    self._keeper.on_clip(clip)
                else:
                    await self._keeper.see(clip)
            self._oldest_at_s = None
            async with self._progress:
                self._num_done += 1
                self._progress.notify_all()

    def _lose(self, clip: Clip, reason: str) -> None:
        self.counters.clips_lost += 1
        self._metrics.clips.labels(result="lost").inc()
        self._publish(ClipLost(clip.clip_index, clip.start_s, clip.end_s, reason))

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
