"""A digest: what the sentences of a period say, each once, with how often and when.

It is made by rule, so that nothing stands in it that the diary does not say.
"""

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from onlooker.cache_store.diaries.words import words_of
from onlooker.cache_store.diary import DiaryEntry

_BETWEEN = re.compile(r"[,;.]|\b(?:and|an?|the)\b", re.IGNORECASE)
"""What stands between the names of two things."""

MAX_TIMES = 3
"""Times that are told of one thing; of more the first and the last."""


@dataclass(frozen=True, slots=True)
class DigestItem:
    """One sentence, and when it was written."""

    sentence: str
    entries: tuple[DiaryEntry, ...]


class DigestSentences:
    """The different sentences of some entries in order of time, read once. Of many entries that
    takes a part of a second, so that a thread does it, and all else here."""

    def __init__(self, entries: Sequence[DiaryEntry]) -> None:
        self._groups: dict[str, list[DiaryEntry]] = {}
        for entry in entries:
            key = _key(entry)
            self._groups.setdefault(key, []).append(entry)
        self._pairs = {key: _pairs(key) for key in self._groups}
        self._doubted = set[DiaryEntry]()
        self._counts = Counter[tuple[str, ...]]()
        for key, group in self._groups.items():
            self._count(key, len(group))

    @property
    def entries(self) -> list[DiaryEntry]:
        """All entries that were not left out, in order of time."""
        left = [entry for group in self._groups.values() for entry in group]
        return sorted(left, key=lambda entry: entry.start_s)

    def leave_out(self, entries: Iterable[DiaryEntry]) -> None:
        """Take some entries out again, as if they had never been written."""
        out = set(entries)
        for key in {_key(entry) for entry in out}:
            group = self._groups[key]
            left = [entry for entry in group if entry not in out]
            self._count(key, len(left) - len(group))
            if left:
                self._groups[key] = left
            else:
                del self._groups[key]

    def doubt(self, entries: Iterable[DiaryEntry]) -> None:
        """Have a sentence of which nothing but such entries is left told last, however rare it is:
        what nobody confirmed is often rare because it is wrong."""
        self._doubted.update(entries)

    def items(self, *, max_items: int) -> tuple[list[DigestItem], int]:
        """The sentences, those of the rarest things where they are too many; and how many entries
        say something else."""
        groups = self._groups
        rarest = heapq.nsmallest(
            max_items,
            groups,
            key=lambda key: (
                self._doubted.issuperset(groups[key]),
                self._rareness(key),
                len(groups[key]),
                groups[key][0].start_s,
            ),
        )
        kept = sorted(rarest, key=lambda key: groups[key][0].start_s)
        num_told = sum(len(groups[key]) for key in kept)
        items = [DigestItem(_sentence(groups[key][0]), tuple(groups[key])) for key in kept]
        return items, sum(map(len, groups.values())) - num_told

    def _rareness(self, key: str) -> int:
        """In how many entries the rarest two words of a sentence that follow each other stand: a
        thing that is named seldom is worth telling, whatever it did. Words of two things make no
        pair: which things are beside each other is chance, and nearly every list of three is the
        only one."""
        return min(self._counts[pair] for pair in self._pairs[key])

    def _count(self, key: str, num_entries: int) -> None:
        for pair in self._pairs[key]:
            self._counts[pair] += num_entries


def _key(entry: DiaryEntry) -> str:
    return _sentence(entry).lower()


def _sentence(entry: DiaryEntry) -> str:
    return entry.text.strip().rstrip(".")


def _pairs(text: str) -> set[tuple[str, ...]]:
    parts = [words for part in _BETWEEN.split(text) if (words := words_of(part))]
    pairs: set[tuple[str, ...]] = {pair for words in parts for pair in pairwise(words)}
    return pairs or {tuple(words_of(text))}


def digest(sentences: DigestSentences, *, max_items: int, told: Callable[[DiaryEntry], str]) -> str:
    """The digest of some sentences; empty where there are none. `told`: the time of an entry for
    people."""
    items, num_other = sentences.items(max_items=max_items)
    lines = [f"{item.sentence} ({_times(item.entries, told)})." for item in items]
    if num_other:
        lines.append(f"Beside that: {num_other} other sentences.")
    return " ".join(lines)


def _times(entries: Sequence[DiaryEntry], told: Callable[[DiaryEntry], str]) -> str:
    if len(entries) <= MAX_TIMES:
        times = ", ".join(told(entry) for entry in entries)
        return times if len(entries) == 1 else f"{len(entries)} times: {times}"
    return f"{len(entries)} times, first {told(entries[0])}, last {told(entries[-1])}"
