"""`AlbumKeeper`: the album as streams use it, off the event loop and never in the way.

One thread encodes and writes. While it is behind, pictures wait up to a limit, and what comes
beyond it is left out and counted: an album may have gaps, a stream may not wait for it.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from onlooker.cache_store.album import (
    Album,
    AlbumPicture,
    AlbumStats,
    AlbumUnreachable,
    NewPicture,
    PictureFacts,
)
from onlooker.cache_store.config import AlbumSection
from onlooker.cache_store.daemon_pool import DaemonPool
from onlooker.core.clock import Clock
from onlooker.core.errors import NotFound, Overloaded
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip
from onlooker.core.metrics import Metrics
from onlooker.core.waiting import within
from onlooker.streams.album.films import FilmLook, contact_sheet, film
from onlooker.streams.album.small_picture import Change, small_picture

T = TypeVar("T")

_log = logging.getLogger("onlooker.streams.album")

BATCH = 16
"""Pictures that are encoded and written at once."""

GATHER_S = 0.2
"""How long fewer than `BATCH` pictures wait for others, unless somebody waits for them: to wake the
thread and to end a transaction for each costs more than to encode it."""

TELL_S = 1.0
"""Seconds between two looks at what the album holds, for its metrics."""

MAX_FILMS = 4
"""Contact sheets and films that may be waiting or in the making."""

CLOSE_S = 5.0
"""How long the closing of the album is waited for."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    stream_id: StreamId
    clip: Clip
    wall_s: float
    epoch: int | None

    @property
    def num_bytes(self) -> int:
        return self.clip.frames[0].num_bytes


class AlbumKeeper:
    """The albums of all streams. All calls are made on the event loop.

    Args:
        executor: has one thread, and does all the work on `album`; given by tests.
    """

    def __init__(
        self,
        album: Album,
        *,
        settings: AlbumSection,
        clock: Clock,
        metrics: Metrics,
        executor: Executor | None = None,
    ) -> None:
        self._album, self._settings = album, settings
        self._clock, self._metrics = clock, metrics
        self._executor = executor or DaemonPool(1, name="album")
        self._filming = DaemonPool(1, name="film")
        self._num_films = 0
        self._waiting = deque[_Waiting]()
        self._num_bytes = 0
        self._num_added = self._num_written = 0
        self._written = asyncio.Event()
        """Set when pictures were written; whoever waits for it clears it first."""
        self._is_writing = False
        self._gathering: asyncio.TimerHandle | None = None
        self._num_hurried = 0
        """Who waits for what was added to be written."""
        self._changes = dict[StreamId, Change]()
        """What the newest picture of each open stream looks like; only the thread uses it."""
        self._told = AlbumStats()
        self._told_at_s = -math.inf

    def add(
        self, stream_id: StreamId, clip: Clip, wall_s: float, *, epoch: int | None = None
    ) -> None:
        """Have a picture of a clip kept; never waits. `epoch`: in which the stream is owned, where
        streams have owners."""
        one = _Waiting(stream_id, clip, wall_s, epoch)
        if self._num_bytes + one.num_bytes > self._settings.max_waiting_bytes:
            self._metrics.album_pictures_total.labels("dropped").inc()
            return
        self._waiting.append(one)
        self._num_added += 1
        self._num_bytes += one.num_bytes
        if not self._is_writing:
            self._go_on()

    async def facts(
        self,
        stream_id: StreamId,
        start_s: float,
        end_s: float,
        *,
        limit: int,
        newest_first: bool = False,
    ) -> list[PictureFacts]:
        """As `Album.facts`. Raises `Overloaded` where the album does not answer."""
        work = partial(
            self._album.facts, stream_id, start_s, end_s, limit=limit, newest_first=newest_first
        )
        return await self._done(work)

    def begin(
        self,
        stream_id: StreamId,
        gone_spans_s: Sequence[tuple[float, float]],
        *,
        epoch: int | None,
        then: Callable[[float | None], None],
    ) -> None:
        """Delete some spans of a stream that begins, before any picture of it is written. Never
        waits; `then` is told the time of the first picture that is left, None where none is."""
        loop = asyncio.get_running_loop()

        def work() -> float | None:
            for start_s, end_s in gone_spans_s:
                self._album.forget(stream_id, start_s, end_s, epoch=epoch)
            found = self._album.facts(stream_id, -math.inf, math.inf, limit=1)
            return found[0].start_s if found else None

        def tell(done: "Future[float | None]") -> None:
            if done.exception() is None:  # else what is there is hidden, or overwritten
                loop.call_soon_threadsafe(then, done.result())

        self._executor.submit(work).add_done_callback(tell)

    async def standing_for(
        self, stream_id: StreamId, times_s: Sequence[float]
    ) -> list[PictureFacts]:
        """The pictures that stand for some stream times in order, each once: the newest from before
        each. Raises `Overloaded` where the album does not answer."""

        def find() -> list[PictureFacts]:
            found: dict[int, PictureFacts] = {}
            for at_s in times_s:
                for one in self._album.facts(
                    stream_id, -math.inf, at_s, limit=1, newest_first=True
                ):
                    found[one.clip_index] = one
            return list(found.values())

        return await self._done(find)

    async def read(self, stream_id: StreamId, clip_indices: Sequence[int]) -> list[AlbumPicture]:
        """As `Album.read`. Raises `Overloaded` where the album does not answer."""
        return await self._done(partial(self._album.read, stream_id, clip_indices))

    async def forget(
        self,
        stream_id: StreamId,
        start_s: float,
        end_s: float,
        clip_indices: Collection[int] = (),
        *,
        epoch: int | None = None,
    ) -> int | None:
        """Delete the pictures of a span of stream time, and of some clips, those that wait to be
        written among them; returns how many. None: the album does not answer; what it can do it
        does later."""
        num_dropped = self._drop(
            lambda one: (
                one.stream_id == stream_id
                and (
                    (one.clip.start_s <= end_s and one.clip.end_s >= start_s)
                    or one.clip.clip_index in clip_indices
                )
            )
        )
        try:
            gone = partial(self._album.forget, stream_id, start_s, end_s, clip_indices, epoch=epoch)
            return num_dropped + await self._done(gone)
        except Overloaded:
            return None

    async def delete(self, stream_id: StreamId, *, epoch: int | None = None) -> None:
        """Delete all pictures of a stream; later, while the album does not answer."""
        self._drop(lambda one: one.stream_id == stream_id)
        try:
            await self._done(partial(self._delete, stream_id, epoch))
        except Overloaded:
            _log.warning("the album does not answer; a stream's pictures are deleted later")

    async def sweep(self) -> None:
        """Delete what is older than the album keeps pictures."""
        keep_for_s = self._settings.keep_for_s
        if keep_for_s is None:
            return
        try:
            await self._done(partial(self._album.sweep, self._clock.wall_s() - keep_for_s))
        except Overloaded as error:
            _log.warning("pictures that are too old stay for now", extra={"detail": str(error)})

    def let_go(self, stream_id: StreamId) -> None:
        """Let go of what is known of a stream that was closed."""
        self._executor.submit(self._changes.pop, stream_id, None)

    # ---- what is made of pictures

    async def sheet(
        self, stream_id: StreamId, chosen: Sequence[PictureFacts], look: FilmLook
    ) -> bytes:
        """A contact sheet of some pictures, as JPEG.

        Raises:
            Overloaded: too many are being made; the album does not answer.
        """
        return await self._made(stream_id, chosen, partial(contact_sheet, look=look))

    async def film(
        self, stream_id: StreamId, chosen: Sequence[PictureFacts], look: FilmLook
    ) -> bytes:
        """A film of some pictures, in the format that `look` names.

        Raises:
            Overloaded: too many are being made; the album does not answer.
        """
        return await self._made(stream_id, chosen, partial(film, look=look))

    async def _made(
        self,
        stream_id: StreamId,
        chosen: Sequence[PictureFacts],
        make: Callable[[Sequence[AlbumPicture]], bytes],
    ) -> bytes:
        if self._num_films >= MAX_FILMS:
            raise Overloaded(
                f"{MAX_FILMS} films and contact sheets are being made, which is the limit: try "
                "again in a few seconds"
            )
        self._num_films += 1
        try:
            pictures = await self.read(stream_id, [one.clip_index for one in chosen])
            if not pictures:
                raise NotFound("the pictures of that span have just been deleted")
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._filming, make, pictures)
        finally:
            self._num_films -= 1

    async def close(self) -> None:
        """Write what waits, and let go of the files."""
        try:
            await within(self._clock, CLOSE_S, self._done_after_all(self._album.close))
        except TimeoutError:
            _log.warning("the album is stuck; what was not written is lost")
        self._filming.close(0)
        self._executor.shutdown(wait=False)

    # ---- writing

    def _go_on(self) -> None:
        """Write what waits: at once where it is much or somebody waits for it, and else soon."""
        self._is_writing = False
        if not self._waiting:
            return
        if len(self._waiting) >= BATCH or self._num_hurried:
            self._write()
        elif self._gathering is None:
            loop = asyncio.get_running_loop()
            self._gathering = loop.call_later(GATHER_S, self._write)

    def _write(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        if not batch:
            return
        self._is_writing = True
        loop = asyncio.get_running_loop()
        is_told = self._clock.now_s() - self._told_at_s >= TELL_S
        self._told_at_s = self._clock.now_s() if is_told else self._told_at_s
        written = self._executor.submit(self._encode_and_add, batch, is_told=is_told)
        written.add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._note_written, batch, done)
        )

    def _note_written(
        self, batch: Sequence[_Waiting], written: "Future[AlbumStats | None]"
    ) -> None:
        self._num_bytes -= sum(one.num_bytes for one in batch)
        self._num_written += len(batch)
        self._written.set()
        if (error := written.exception()) is not None:
            _log.error("pictures could not be kept", exc_info=error)
            self._metrics.album_pictures_total.labels("failed").inc(len(batch))
        elif (stats := written.result()) is not None:
            self._tell(stats)
        self._go_on()

    def _encode_and_add(self, batch: Sequence[_Waiting], *, is_told: bool) -> AlbumStats | None:
        pictures = []
        for one in batch:
            before = self._changes.get(one.stream_id)
            picture, change = small_picture(
                one.clip, one.wall_s, before=before, settings=self._settings
            )
            self._changes[one.stream_id] = change
            pictures.append(NewPicture(stream=one.stream_id, picture=picture, epoch=one.epoch))
        self._album.add(pictures)
        return self._album.stats() if is_told else None

    def _delete(self, stream_id: StreamId, epoch: int | None) -> AlbumStats:
        self._changes.pop(stream_id, None)
        self._album.delete(stream_id, epoch=epoch)
        return self._album.stats()

    def _tell(self, stats: AlbumStats) -> None:
        before, self._told = self._told, stats
        metrics = self._metrics
        metrics.album_pictures.set(stats.num_pictures)
        metrics.album_bytes.set(stats.num_bytes)
        for outcome, gained in stats.gained(before).items():
            metrics.album_pictures_total.labels(outcome).inc(gained)

    def _drop(self, is_unwanted: Callable[[_Waiting], bool]) -> int:
        """Let go of pictures that wait to be written; returns how many."""
        kept = [one for one in self._waiting if not is_unwanted(one)]
        num_dropped = len(self._waiting) - len(kept)
        self._num_written += num_dropped
        self._written.set()
        if num_dropped:
            self._num_bytes -= sum(one.num_bytes for one in self._waiting if is_unwanted(one))
            self._waiting = deque(kept)
        return num_dropped

    # ---- the thread

    async def _done(self, work: Callable[[], T]) -> T:
        """Do `work` once all is written that was added before it. Raises `Overloaded`."""
        done = asyncio.ensure_future(self._done_after_all(work))
        done.add_done_callback(_heard)
        try:
            return await within(self._clock, self._settings.timeout_s, asyncio.shield(done))
        except (TimeoutError, AlbumUnreachable) as error:
            raise Overloaded(
                "the album of pictures does not answer, since its disk hangs or is full: try again "
                "later"
            ) from error

    async def _done_after_all(self, work: Callable[[], T]) -> T:
        num_added = self._num_added
        self._num_hurried += 1
        try:
            if not self._is_writing:
                self._go_on()
            while self._num_written < num_added:
                self._written.clear()
                await self._written.wait()
        finally:
            self._num_hurried -= 1
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _heard(done: "asyncio.Future[Any]") -> None:
    if not done.cancelled():
        done.exception()  # whoever still waits for it hears of it
