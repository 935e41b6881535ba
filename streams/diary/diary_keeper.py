"""`DiaryKeeper`: the diary as streams use it, off the event loop and never in the way.

One thread writes and reads. While it is behind, entries wait up to a limit, and what comes beyond
it is left out and counted.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, TypeVar

from onlooker.cache_store.config import DiarySection
from onlooker.cache_store.daemon_pool import DaemonPool
from onlooker.cache_store.diary import (
    Diary,
    DiaryEntry,
    DiaryQuery,
    DiaryStats,
    DiaryUnreachable,
    NewDiaryEntry,
)
from onlooker.core.clock import Clock
from onlooker.core.errors import Overloaded
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.core.waiting import within
from onlooker.streams.meaning.meanings import Meanings

T = TypeVar("T")

_log = logging.getLogger("onlooker.streams.diary")

TELL_S = 1.0
"""Seconds between two looks at what the diary holds, for its metrics."""

CLOSE_S = 5.0
"""How long the closing of the diary is waited for."""


class DiaryKeeper:
    """The diaries of all streams. All calls are made on the event loop.

    Args:
        meanings: finds sentences by meaning; None where they are found by their words alone.
        executor: has one thread, and does all the work on `diary`; given by tests.
    """

    def __init__(
        self,
        diary: Diary,
        *,
        settings: DiarySection,
        clock: Clock,
        metrics: Metrics,
        meanings: Meanings | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._diary, self.settings = diary, settings
        self.meanings = meanings
        self._clock, self._metrics = clock, metrics
        self._executor = executor or DaemonPool(1, name="diary")
        self.room = asyncio.Semaphore(settings.max_writing)
        """Room for sentences that the model writes at once, of all streams."""
        self._num_waiting = 0
        self._told = DiaryStats()
        self._told_at_s = -math.inf

    def add(
        self, stream_id: StreamId, entries: Sequence[DiaryEntry], *, epoch: int | None = None
    ) -> None:
        """Have entries kept; never waits. `epoch`: in which the stream is owned, where streams have
        owners."""
        if self._num_waiting + len(entries) > self.settings.max_waiting:
            self._metrics.diary_entries_total.labels("dropped").inc(len(entries))
            return
        self._num_waiting += len(entries)
        new = [NewDiaryEntry(stream=stream_id, entry=entry, epoch=epoch) for entry in entries]
        is_told = self._clock.now_s() - self._told_at_s >= TELL_S
        self._told_at_s = self._clock.now_s() if is_told else self._told_at_s
        loop = asyncio.get_running_loop()

        def work() -> DiaryStats | None:
            self._diary.add(new)
            return self._diary.stats() if is_told else None

        written = self._executor.submit(work)
        written.add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._note_written, len(new), done)
        )

    async def find(self, stream_id: StreamId, query: DiaryQuery) -> list[DiaryEntry]:
        """As `Diary.find`, with all that was added before. Raises `Overloaded` where the diary does
        not answer."""
        return await self._done(partial(self._diary.find, stream_id, query))

    def begin(
        self,
        stream_id: StreamId,
        gone_spans_s: Sequence[tuple[float, float]],
        *,
        epoch: int | None,
    ) -> None:
        """Delete some spans of a stream that begins, before anything more is written of it. Never
        waits; what cannot be deleted now is hidden."""

        def work() -> None:
            for start_s, end_s in gone_spans_s:
                self._forget(stream_id, start_s, end_s, epoch=epoch)

        self._executor.submit(work).add_done_callback(_heard_there)

    async def forget(
        self, stream_id: StreamId, start_s: float, end_s: float, *, epoch: int | None = None
    ) -> int | None:
        """Delete what tells of a span of stream time. None: the diary does not answer; what it can
        do it does later."""
        try:
            return await self._done(partial(self._forget, stream_id, start_s, end_s, epoch=epoch))
        except Overloaded:
            return None

    async def delete(self, stream_id: StreamId, *, epoch: int | None = None) -> None:
        """Delete the diary of a stream; later, while it does not answer."""

        def work() -> None:
            if self.meanings is not None:
                self.meanings.delete(stream_id)
            self._diary.delete(stream_id, epoch=epoch)

        try:
            await self._done(work)
        except Overloaded:
            _log.warning("the diary does not answer; that of a stream is deleted later")

    async def sweep(self) -> None:
        """Delete what is older than the diary keeps entries."""
        keep_for_s = self.settings.keep_for_s
        if keep_for_s is None:
            return
        before_wall_s = self._clock.wall_s() - keep_for_s

        def work() -> None:
            if self.meanings is not None:
                self.meanings.sweep(before_wall_s)
            self._diary.sweep(before_wall_s)

        try:
            await self._done(work)
        except Overloaded as error:
            _log.warning("entries that are too old stay for now", extra={"detail": str(error)})

    def count(self, outcome: str) -> None:
        """That became of something that could have been written; see the metric's description."""
        self._metrics.diary_sentences_total.labels(outcome).inc()

    async def close(self) -> None:
        """Write what waits, and let go of the files."""
        loop = asyncio.get_running_loop()
        try:
            closing = loop.run_in_executor(self._executor, self._diary.close)
            await within(self._clock, CLOSE_S, asyncio.shield(closing))
        except TimeoutError:
            _log.warning("the diary is stuck; what was not written is lost")
        self._executor.shutdown(wait=False)
        if self.meanings is not None:
            self.meanings.close()

    # ---- inside

    def _forget(
        self, stream_id: StreamId, start_s: float, end_s: float, *, epoch: int | None
    ) -> int:
        """In the thread, so that no entry is read between its vector's end and its own."""
        if self.meanings is not None:
            self.meanings.forget(stream_id, start_s, end_s)
        return self._diary.forget(stream_id, start_s, end_s, epoch=epoch)

    def _note_written(self, count: int, written: "Future[DiaryStats | None]") -> None:
        self._num_waiting -= count
        if (error := written.exception()) is not None:
            _log.error("a diary could not be written", exc_info=error)
            self._metrics.diary_entries_total.labels("failed").inc(count)
        elif (stats := written.result()) is not None:
            self._tell(stats)

    def _tell(self, stats: DiaryStats) -> None:
        before, self._told = self._told, stats
        self._metrics.diary_entries.set(stats.num_entries)
        self._metrics.diary_bytes.set(stats.num_bytes)
        for outcome, gained in stats.gained(before).items():
            self._metrics.diary_entries_total.labels(outcome).inc(gained)

    async def _done(self, work: Callable[[], T]) -> T:
        """Do `work`; one thread does all in order. Raises `Overloaded`."""
        done = asyncio.get_running_loop().run_in_executor(self._executor, work)
        done.add_done_callback(_heard)
        try:
            return await within(self._clock, self.settings.timeout_s, asyncio.shield(done))
        except (TimeoutError, DiaryUnreachable) as error:
            raise Overloaded(
                "the diary does not answer, since its disk hangs or is full, or its Redis is away: "
                "try again later"
            ) from error


def _heard(done: "asyncio.Future[Any]") -> None:
    if not done.cancelled():
        done.exception()  # whoever still waits for it hears of it


def _heard_there(done: "Future[None]") -> None:
    done.exception()  # what is there is hidden, or overwritten
