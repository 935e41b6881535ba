"""Entries for diaries, and what a diary says that it has."""

import math
from typing import Any

from onlooker.cache_store.diary import Diary, DiaryEntry, DiaryQuery, Level, NewDiaryEntry

STREAM = "default/door"


def make_entry(
    start_s: float,
    text: str = "A cat came in.",
    *,
    level: Level = Level.SCENE,
    length_s: float = 0.5,
    wall_s: float | None = None,
) -> DiaryEntry:
    """An entry; its stream began at the beginning of 1970."""
    return DiaryEntry(
        level=level,
        start_s=start_s,
        end_s=start_s + length_s,
        wall_s=start_s if wall_s is None else wall_s,
        text=text,
    )


def query(**wanted: Any) -> DiaryQuery:
    """A query for everything, but for what is `wanted`."""
    return DiaryQuery(**{"start_s": -math.inf, "end_s": math.inf, "limit": 100_000, **wanted})


def times(diary: Diary, stream: str = STREAM, **wanted: Any) -> list[float]:
    """When the entries that are `wanted` begin, in the order in which they come."""
    return [entry.start_s for entry in diary.find(stream, query(**wanted))]


def fill(
    diary: Diary, *entries: DiaryEntry, stream: str = STREAM, epoch: int | None = None
) -> None:
    """Add entries to a diary at once."""
    diary.add([NewDiaryEntry(stream=stream, entry=entry, epoch=epoch) for entry in entries])
