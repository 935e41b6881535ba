"""`Restorer`: makes clips again of what the journal has of a stream."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from msgspec import structs

from onlooker.cache_store.journal_entry import JournalEntry
from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import StreamId, split_stream_id
from onlooker.core.media import Clip, Cover, Frame
from onlooker.engine.interface import Remembered
from onlooker.engine.supervisor import EngineSupervisor
from onlooker.streams.album.stream_album import StreamAlbum
from onlooker.streams.diary.stream_diary import StreamDiary
from onlooker.streams.journaling import StreamJournal
from onlooker.streams.perception.decoders import Shape
from onlooker.streams.perception.stills import Undecodable
from onlooker.streams.privacy import StreamPrivacy
from onlooker.streams.shared import Shared
from onlooker.streams.state import StreamTerms

_log = logging.getLogger("onlooker.streams.restorer")


@dataclass(slots=True)
class Found:
    """What a stream's journal had, and where the stream goes on."""

    next_clip_index: int
    """The index of the stream's next clip."""
    num_after: int = 0
    """Clips found after those that the engine remembers."""
    filled: set[int] = field(default_factory=set)
    """Indices of clips found between or before those that the engine remembers."""
    waiting: Frame | None = None
    """The frame that waited for its partner when the process ended; its clip is the next."""
    before_until_s: float | None = None
    """Where the cover of the clip before `waiting` ends; None where nothing waits."""
    newest_s: float | None = None
    """Stream time of the newest frame or look that was found; None when there was none."""


async def open_with(
    engine: EngineSupervisor, stream_id: StreamId, privacy: StreamPrivacy
) -> Remembered:
    """Open a stream with the engine, and delete once more what was deleted of it before: a tier
    that could not be reached then may have it still.

    Raises: what `Engine.open_stream` does.
    """
    remembered = await engine.open_stream(stream_id)
    if remembered.next_clip_index:
        for start_s, end_s in privacy.forgotten.all_spans:
            await engine.forget(stream_id, start_s, end_s, is_aged=True)
    # Names of clips that were deleted at the end are not given out again.
    next_index = max(remembered.next_clip_index, privacy.next_clip_index)
    missing = remembered.missing.union(range(remembered.next_clip_index, next_index))
    return replace(remembered, next_clip_index=next_index, missing=missing)


class Restorer:
    """Makes clips again of what the journal has of one stream."""

    def __init__(self, terms: StreamTerms, journal: StreamJournal, shared: Shared) -> None:
        self._stream_id, self._hold_s = terms.stream_id, terms.hold_s
        self.journal, self._shared = journal, shared
        self._desk = shared.decoding.desk(split_stream_id(terms.stream_id)[0], is_judged=False)

    async def restore(
        self,
        remembered: Remembered,
        below: int | None,
        show: Callable[[Clip], Awaitable[None]],
    ) -> Found:
        """Show every clip that the journal has and the engine does not remember, in order.

        `below`: only clips of a lower index, since later ones are still under way in this process;
        None: all there are. Then a last clip that is not whole is not shown: its frame waits for a
        partner.
        """
        found = Found(remembered.next_clip_index)
        last: tuple[Clip, bool] | None = None
        newest = Cover(remembered.next_clip_index - 1, remembered.seen_until_s or 0.0)
        looked = newest
        async for index, entries in self.journal.groups():
            if below is not None and index >= below:
                break
            before, looked = looked, Cover(index, entries[-1].capture_s)
            is_newest = index == remembered.next_clip_index - 1
            if is_newest or index >= remembered.next_clip_index:
                found.newest_s = looked.until_s
            if remembered.has(index):
                self.journal.settle((index,))
                continue
            if last is not None:
                await self._show(last[0], found, show)
            frames = await self._frames([entry for entry in entries if not entry.is_look])
            last = None
            if frames:
                clip = Clip(self._stream_id, index, (frames[0], frames[-1]))
                clip = structs.replace(
                    clip,
                    before_until_s=self._until_s((before, newest), clip),
                    cover_until_s=looked.until_s + self._hold_s,
                )
                last = clip, entries[-1].is_last
        if last is not None:
            clip, is_whole = last
            if below is None and not is_whole and clip.clip_index >= found.next_clip_index:
                found.next_clip_index, found.waiting = clip.clip_index, clip.frames[0]
                found.before_until_s = clip.before_until_s
            else:
                await self._show(clip, found, show)
        return found

    def _until_s(self, looked: Sequence[Cover], clip: Clip) -> float:
        """Where the cover of the clip before `clip` ends; 0 where that is not known. `looked`: for
        some clips, until when pictures were looked at that are like theirs."""
        known = (one.until_s for one in looked if one.clip_index == clip.clip_index - 1)
        return min(max(known, default=-self._hold_s) + self._hold_s, clip.start_s)

    async def _show(
        self, clip: Clip, found: Found, show: Callable[[Clip], Awaitable[None]]
    ) -> None:
        await show(clip)
        if clip.clip_index >= found.next_clip_index:
            found.next_clip_index = clip.clip_index + 1
            found.num_after += 1
        else:
            found.filled.add(clip.clip_index)

    async def _frames(self, entries: Sequence[JournalEntry]) -> list[Frame]:
        """The pictures of a clip's entries; one that cannot be decoded is left out."""
        found = [await self._frame(entry) for entry in entries]
        return [frame for frame in found if frame is not None]

    async def _frame(self, entry: JournalEntry) -> Frame | None:
        info, decoders = self._shared.engine.info, self._desk.decoders
        shape = Shape(info.frame_width, info.frame_height, self._shared.settings.max_frame_pixels)
        work = partial(decoders.still, entry.payload, entry.codec, shape)
        try:
            pixels = await asyncio.shield(await self._desk.begin(work))
        except Undecodable as error:  # its digest was right: another version wrote it, or nobody
            self._shared.metrics.journal_entries_skipped.labels(reason=error.reason.value).inc()
            _log.warning(
                "a journaled frame cannot be read and is left out",
                extra={"reason": error.reason.value, "detail": str(error)},
            )
            return None
        now_s = self._shared.clock.now_s()
        return Frame(entry.sequence, entry.capture_s, now_s, pixels)


@dataclass(frozen=True, slots=True)
class Opened:
    """How a stream begins."""

    life: int
    """The number of the engine's life in which the stream was opened."""
    remembered: Remembered
    """What the engine said that it remembers of the stream."""
    restorer: Restorer | None = None
    """The part that finds again what the engine does not remember; None without a journal."""
    privacy: StreamPrivacy = field(default_factory=StreamPrivacy)
    """The stream's masks, how long it is kept, and what was deleted of it."""
    album: StreamAlbum | None = None
    """The stream's pictures; None where none are kept."""
    diary: StreamDiary | None = None
    """The stream's diary; None where none is written."""

    @property
    def journal(self) -> StreamJournal | None:
        """The journal to which the stream's kept frames are written; None where there is none."""
        return None if self.restorer is None else self.restorer.journal

    @property
    def newest_s(self) -> float | None:
        """Stream time of the newest frame that is stored in any way."""
        known_s = [self.remembered.seen_until_s]
        if self.journal is not None:
            known_s.append(self.journal.newest_s)
        return max((time_s for time_s in known_s if time_s is not None), default=None)

    @property
    def guarantee(self) -> Guarantee:
        """What a frame that is kept now survives."""
        return Guarantee.NONE if self.journal is None else self.journal.guarantee
