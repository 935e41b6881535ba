"""`StreamDiary`: the diary of one stream."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from onlooker.cache_store.config import DiarySection
from onlooker.cache_store.diary import DiaryEntry, DiaryQuery
from onlooker.core.ids import StreamId
from onlooker.streams.diary.diary_keeper import DiaryKeeper


class StreamDiary:
    """The diary of one stream. Times are stream time in seconds.

    Args:
        epoch: in which the stream is owned; None where streams have no owners.
        is_forgotten: tells of a span whether any of it was deleted; what tells of it is hidden
            then, also where the diary could not be reached.
    """

    def __init__(
        self,
        stream_id: StreamId,
        keeper: DiaryKeeper,
        *,
        is_forgotten: Callable[[float, float], bool],
        epoch: int | None = None,
    ) -> None:
        self._stream_id, self.keeper = stream_id, keeper
        self.is_forgotten, self._epoch = is_forgotten, epoch

    @property
    def settings(self) -> DiarySection:
        """What all diaries may hold, and how they are written."""
        return self.keeper.settings

    def begin(
        self, newest_s: float | None, forgotten_spans_s: Iterable[tuple[float, float]]
    ) -> None:
        """Delete what an earlier life of the stream has left and nothing else remembers: what came
        after `newest_s`, or all where that is None, and the spans that were deleted. Never
        waits."""
        after_s = -math.inf if newest_s is None else math.nextafter(newest_s, math.inf)
        gone = [(after_s, math.inf), *forgotten_spans_s]
        self.keeper.begin(self._stream_id, gone, epoch=self._epoch)

    def add(self, entries: Sequence[DiaryEntry]) -> None:
        """Have entries kept; never waits."""
        left = [one for one in entries if not self.is_forgotten(one.start_s, one.end_s)]
        if left:
            self.keeper.add(self._stream_id, left, epoch=self._epoch)

    async def find(self, query: DiaryQuery) -> list[DiaryEntry]:
        """The first entries that `query` describes, in order of time. Raises `Overloaded`."""
        found = await self.keeper.find(self._stream_id, query)
        return [one for one in found if not self.is_forgotten(one.start_s, one.end_s)]

    async def find_all(self, query: DiaryQuery) -> list[DiaryEntry]:
        """As `find`, some thousand at a time, so that no call takes long."""
        found: list[DiaryEntry] = []
        left = query.limit
        while left > 0:
            page = await self.keeper.find(self._stream_id, replace(query, limit=min(left, PAGE)))
            found += [one for one in page if not self.is_forgotten(one.start_s, one.end_s)]
            if len(page) < PAGE:
                break
            left -= len(page)
            query = _after(query, page[-1].start_s)
        return found

    @property
    def knows_meanings(self) -> bool:
        """Whether sentences are found by meaning, too."""
        return self.keeper.meanings is not None

    async def find_near(self, query: DiaryQuery, asked: str) -> list[DiaryEntry]:
        """Of what `query` describes the entries that are near in meaning to the words `asked`; see
        `Meanings.near`. None where they are found by their words alone. Raises `Overloaded`."""
        meanings = self.keeper.meanings
        if meanings is None:
            return []
        num_deletions = meanings.num_deletions
        entries = await self.find_all(query)
        return await meanings.near(self._stream_id, asked, entries, num_deletions=num_deletions)

    async def forget(self, start_s: float, end_s: float) -> int | None:
        """See `DiaryKeeper.forget`."""
        return await self.keeper.forget(self._stream_id, start_s, end_s, epoch=self._epoch)


PAGE = 2000
"""Entries that are read at once."""


def _after(query: DiaryQuery, last_s: float) -> DiaryQuery:
    if query.newest_first:
        return replace(query, end_s=math.nextafter(last_s, -math.inf))
    return replace(query, start_s=math.nextafter(last_s, math.inf))
