"""`Diary`: dated sentences about what a stream showed, and summaries of quarters, hours and days.

A diary is bounded in bytes. Where it is full, the oldest sentences go first, and summaries after
them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

from onlooker.cache_store.row_totals import RowTotals, totals_of


class DiaryUnreachable(Exception):
    """The diary cannot be read or changed now; it may be again later. The message says why."""


class Level(StrEnum):
    """How much time an entry of a diary is about."""

    SCENE = "scene"
    """One clip."""
    QUARTER = "quarter"
    HOUR = "hour"
    DAY = "day"


LEVELS = tuple(Level)
"""From the shortest time to the longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiaryEntry:
    """What was written about a span of stream time."""

    level: Level
    start_s: float
    """Stream time of the first thing that the text tells of. No two entries of a level begin at the
    same time."""
    end_s: float
    wall_s: float
    """Wall clock of `start_s`, in seconds since the Unix epoch; as far as the server knows."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDiaryEntry:
    """An entry to be kept."""

    stream: str
    entry: DiaryEntry
    epoch: int | None = None
    """The epoch in which its stream is owned; None where streams have no owners."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiaryQuery:
    """Which entries of a stream are wanted."""

    start_s: float
    end_s: float
    """A span of stream time in which they begin, its ends included."""
    levels: tuple[Level, ...] = LEVELS
    words: str = ""
    """Words that the text must hold, in any order and form ("appears" finds "appeared"); empty:
    any text."""
    limit: int
    newest_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DiaryStats(RowTotals):
    """Totals since opening, and what is held now."""

    num_entries: int = 0

    @classmethod
    def of(
        cls, counts: Counter[str], *, num_entries: int, num_bytes: int, num_streams: int
    ) -> Self:
        """What is held now, with the totals out of a diary's `counts`."""
        held = {"num_bytes": num_bytes, "num_streams": num_streams}
        return cls(num_entries=num_entries, **held, **totals_of(counts))


class Diary(Protocol):
    """The entries of all streams, of a server or of a fleet. All calls may block, and may come from
    any thread.

    `stream` is a stream's id. Every call but `add`, `stats` and `close` raises `DiaryUnreachable`.
    """

    def add(self, entries: Sequence[NewDiaryEntry]) -> None:
        """Take entries, and let old ones go where a budget is exceeded. One of the level and the
        beginning of another takes its place. What cannot be written is counted."""
        ...

    def find(self, stream: str, query: DiaryQuery) -> list[DiaryEntry]:
        """The first entries that `query` describes, in order of time."""
        ...

    def forget(self, stream: str, start_s: float, end_s: float, *, epoch: int | None = None) -> int:
        """Delete the entries that tell of any of a span of stream time; returns how many there
        were."""
        ...

    def delete(self, stream: str, *, epoch: int | None = None) -> None:
        """Delete all entries of a stream."""
        ...

    def sweep(self, before_wall_s: float) -> None:
        """Delete the entries, of all streams, that begin before a wall time."""
        ...

    def stats(self) -> DiaryStats:
        """The diary's totals."""
        ...

    def close(self) -> None:
        """Write what is not written yet, and let go of the files."""
        ...
