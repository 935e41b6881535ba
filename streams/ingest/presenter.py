"""`Presenter`: shows one stream's clips to the engine, one at a time.

Before the first, and again whenever the engine has been started anew, the stream is *caught up*:
what the engine does not remember and the journal still has is shown to it once more.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from onlooker.core.errors import EngineFailed, EngineRestarting
from onlooker.core.media import Clip
from onlooker.engine.interface import IngestResult, Remembered
from onlooker.streams.diary.diary_writer import DiaryWriter
from onlooker.streams.ingest.frame_spans import FrameSpans
from onlooker.streams.ingest.tally import Tally
from onlooker.streams.quality.stream_quality import StreamQuality
from onlooker.streams.restorer import Found, Opened, open_with
from onlooker.streams.shared import Shared
from onlooker.streams.state import StreamTerms
from onlooker.watches.keeper import WatchKeeper

_log = logging.getLogger("onlooker.streams.ingest")

CLIP_QUEUE = 1
"""Clips that wait for the engine beside the one it has. More would only be lag."""


class Presenter:
    """A short queue of clips, and the engine at its end.

    Args:
        opened: how the stream begins.
        watches: are told of each clip that the model has seen.
        diary: has sentences written about those clips; None where no diary is kept.
        spans: traces frames; None where nothing does.
    """

    def __init__(
        self,
        terms: StreamTerms,
        shared: Shared,
        *,
        opened: Opened,
        quality: StreamQuality,
        tally: Tally,
        watches: WatchKeeper,
        diary: DiaryWriter | None = None,
        spans: FrameSpans | None = None,
    ) -> None:
        self._spans, self._diary = spans, diary
        self._terms, self._engine, self._clock = terms, shared.engine, shared.clock
        self._opened, self._remembered = opened, opened.remembered
        self._privacy = opened.privacy
        self.turn = asyncio.Lock()
        """Held while a clip is shown to the engine and to the watches; whoever has it can delete
        clips."""
        self._quality, self._tally, self._watches = quality, tally, watches
        self._clips: asyncio.Queue[Clip] = asyncio.Queue(CLIP_QUEUE)
        self._moved = asyncio.Event()
        self._progress = asyncio.Condition()
        self._num_waiting = 0
        """Who waits for it; most clips are shown without anybody waiting."""
        self._oldest_at_s: float | None = None
        self._num_done = 0
        self._next_index = 0
        self._shown_index = -1
        """Index of the newest clip that the engine has seen, as far as was told."""
        self._begun: Found | None = None
        self._caught_up_in_life = 0
        self.num_made = 0
        """Clips that were put in the queue so far."""

    async def run(self) -> None:
        """Show clips until cancelled. Raises what ended it: `EngineDead` or a fault of ours."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stay_caught_up())
            tasks.create_task(self._show_all())

    # ---- the queue

    async def put(self, clip: Clip) -> None:
        """Have a clip shown; waits while the queue is full."""
        self.num_made += 1
        await self._clips.put(clip)

    @property
    def is_full(self) -> bool:
        """Whether a clip waits for the engine beside the one it has."""
        return self._clips.full()

    @property
    def num_ahead(self) -> int:
        """Clips on their way to the model."""
        return self.num_made - self._num_done

    def has_shown(self, clip_index: int) -> bool:
        """Whether the newest clip that was put in has been seen, and is that of this index."""
        return self.num_ahead == 0 and self._shown_index == clip_index

    @property
    def behind_s(self) -> float:
        """How long the oldest clip that is not yet seen has waited; 0 when there is none."""
        if self._oldest_at_s is None:
            return 0.0
        return max(0.0, self._clock.now_s() - self._oldest_at_s)

    async def wait_moved(self) -> None:
        """Return when the engine has taken a clip, or is done with one."""
        self._moved.clear()
        await self._moved.wait()

    async def wait_shown(self, num_clips: int) -> None:
        """Return when the engine is done with the first `num_clips` clips."""
        await self._wait_for(lambda: self._num_done >= num_clips)

    async def _wait_for(self, is_reached: Callable[[], bool]) -> None:
        if is_reached():
            return
        self._num_waiting += 1
        try:
            async with self._progress:
                await self._progress.wait_for(is_reached)
        finally:
            self._num_waiting -= 1

    async def _show_all(self) -> None:
        while True:
            clip = await self._clips.get()
            self._moved.set()
            self._oldest_at_s = clip.frames[1].received_at_s
            await self._show(clip)
            self._oldest_at_s = None
            self._num_done += 1
            if self._num_waiting:
                async with self._progress:
                    self._progress.notify_all()
            self._moved.set()

    async def _show(self, clip: Clip) -> None:
        """Have the engine see a clip, in this life or a later one; if it fails, the clip is
        lost."""
        while True:
            if not self.is_caught_up:
                await self.wait_caught_up()
            try:
                async with self.turn:
                    await self._show_in_turn(clip)
            except EngineRestarting:
                continue
            return

    async def _show_in_turn(self, clip: Clip) -> None:
        """Have the engine see a clip, unless its time was deleted while it was on its way.

        Raises:
            EngineRestarting: the engine has not seen it.
        """
        started_s = self._clock.now_s()
        result: IngestResult | None = None
        if self._is_forgotten(clip):
            self._pass(clip.clip_index + 1)
            return
        try:
            # A life may have ended after it stored the clip and before it said so.
            if not self._remembered.has(clip.clip_index):
                result = await self._engine.ingest(clip, self._quality.clip_care(clip))
        except EngineFailed as error:
            self._lose(clip, error.message)
            if self._spans is not None:
                self._spans.seen(clip, started_s, None)
        else:
            if self._spans is not None and result is not None:
                self._spans.seen(clip, started_s, result)
            wall_s = self._note_seen(clip, started_s)
            await self._tell(clip, wall_s)
        self._pass(clip.clip_index + 1)

    async def _tell(self, clip: Clip, wall_s: float) -> None:
        """Tell the watches and the diary of a clip that the model has seen; on the virtual clock,
        until they have said all that they have to say about it."""
        if self._terms.is_live:
            self._watches.on_clip(clip)
            if self._diary is not None:
                self._diary.on_clip(clip, wall_s)
            return
        await self._watches.see(clip)
        if self._diary is not None:
            await self._diary.see(clip, wall_s)

    def _is_forgotten(self, clip: Clip) -> bool:
        """Whether any of a clip's time was deleted; then the journal lets go of it."""
        if not self._privacy.forgotten.touch(clip.start_s, clip.end_s):
            return False
        if self._opened.journal is not None:
            self._opened.journal.settle((clip.clip_index,))
        return True

    def _note_seen(self, clip: Clip, started_s: float) -> float:
        """Note that the model has seen a clip; returns the wall time at which it was taken, as far
        as is known."""
        now_s = self._clock.now_s()
        took_s, lag_s = now_s - started_s, max(0.0, now_s - clip.frames[1].received_at_s)
        self._tally.note_seen(clip, lag_s=lag_s, took_s=took_s)
        self._privacy.note_seen(clip.end_s, self._clock.wall_s() - lag_s)
        wall_s = self._wall_s(clip)
        self._picture(clip, wall_s)
        self._quality.note_seen(lag_s=lag_s, took_s=took_s)
        self._shown_index = clip.clip_index
        return wall_s

    def _wall_s(self, clip: Clip) -> float:
        """The wall time of a clip's first frame; of a recording whose is not known, when it came
        in."""
        zero_wall_s = self._terms.zero_wall_s
        if zero_wall_s is not None:
            return zero_wall_s + clip.start_s
        age_s = self._clock.now_s() - clip.frames[0].received_at_s
        return self._clock.wall_s() - max(0.0, age_s)

    def _picture(self, clip: Clip, wall_s: float) -> None:
        """Have a picture of a clip kept that the model has seen."""
        if self._opened.album is not None:
            self._opened.album.add(clip, wall_s)

    # ---- catching up

    @property
    def is_caught_up(self) -> bool:
        """Whether the engine takes work and remembers all that it can of this stream."""
        return self._engine.ready() and self._caught_up_in_life == self._engine.life

    async def wait_caught_up(self) -> None:
        """Return when `is_caught_up`."""
        await self._wait_for(lambda: self.is_caught_up)

    async def wait_begun(self) -> Found:
        """Return, once the stream is caught up for the first time, where it goes on."""
        await self.wait_caught_up()
        assert self._begun is not None, "caught up without having begun"
        return self._begun

    async def _stay_caught_up(self) -> None:
        """Catch up after the start. After each restart of the engine, open the stream with it again
        and catch up once more."""
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
                remembered = await open_with(self._engine, self._terms.stream_id, self._privacy)
                return after, remembered

    async def _catch_up(self, remembered: Remembered) -> None:
        self._remembered = remembered
        if self._begun is None:
            found = await self._restored(None)
            if found.newest_s is None:
                found.newest_s = self._tally.seen_until_s
            elif found.waiting is None:
                self._tally.note_alike(found.newest_s)
            self._pass(found.next_clip_index)
            self._tally.note_found(found.next_clip_index - len(remembered.missing - found.filled))
            self._begun = found
            return
        found = await self._restored(self._next_index)
        num_lost = self._next_index - remembered.next_clip_index - found.num_after
        if self._engine.info.mode == "resend":  # this mode forgets all that left its window
            num_lost = min(num_lost, self._engine.info.max_clips)
        if num_lost > 0:
            _log.warning("the engine lost clips when it died", extra={"clips": num_lost})
            self._tally.note_lost_clips(num_lost, self._tally.seen_until_s)

    async def _restored(self, below: int | None) -> Found:
        """Show the clips that the journal has and the engine does not remember: those of an index
        under `below`, or all where that is None."""
        if self._opened.restorer is None:
            return Found(self._remembered.next_clip_index)
        return await self._opened.restorer.restore(self._remembered, below, self._show_again)

    @property
    def next_clip_index(self) -> int:
        """The index after that of the newest clip that the engine is done with."""
        return self._next_index

    async def _show_again(self, clip: Clip) -> None:
        async with self.turn:
            await self._show_again_in_turn(clip)

    async def _show_again_in_turn(self, clip: Clip) -> None:
        if self._is_forgotten(clip):
            return
        try:
            await self._engine.ingest(clip, self._quality.clip_care(clip))
        except EngineFailed as error:
            self._lose(clip, error.message)
        else:
            self._tally.note_restored(clip)
            self._picture(clip, self._wall_s(clip))
            if self._begun is None:  # else the watches have seen it in an earlier life
                await self._watches.see_again(clip)

    # ---- for the journal

    def _pass(self, next_index: int) -> None:
        """Note that the engine is done with all clips of an index below `next_index`."""
        self._next_index = next_index
        if self._opened.journal is not None:
            self._opened.journal.seen_below = next_index

    def _lose(self, clip: Clip, reason: str) -> None:
        if self._opened.journal is not None:  # shown again it would fail again
            self._opened.journal.settle((clip.clip_index,))
        self._tally.note_lost(clip, reason)
