"""A digest: what the sentences of a period say, each once, with how often and when.

It is made by rule, so that nothing stands in it that the diary does not say.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
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


def items_of(entries: Sequence[DiaryEntry], *, max_items: int) -> tuple[list[DigestItem], int]:
    """The different sentences of some entries in order of time, those of the rarest things where
    they are too many; and how many entries say something else."""
    groups: dict[str, list[DiaryEntry]] = {}
    sentences: dict[str, str] = {}
    for entry in entries:
        key = entry.text.strip().rstrip(".").lower()
        groups.setdefault(key, []).append(entry)
        sentences.setdefault(key, entry.text.strip().rstrip("."))
    rareness = _rareness(entries)
    rarest = sorted(
        groups, key=lambda key: (rareness(key), len(groups[key]), groups[key][0].start_s)
    )
    kept = sorted(rarest[:max_items], key=lambda key: groups[key][0].start_s)
    num_other = sum(len(groups[key]) for key in rarest[max_items:])
    return [DigestItem(sentences[key], tuple(groups[key])) for key in kept], num_other


def _rareness(entries: Sequence[DiaryEntry]) -> Callable[[str], int]:
    """In how many entries the rarest two words of a text that follow each other stand: a thing that
    is named seldom is worth telling, whatever it did. Words of two things make no pair: which
    things are beside each other is chance, and nearly every list of three is the only one."""
    counts = Counter(pair for entry in entries for pair in _pairs(entry.text))
    return lambda text: min(counts[pair] for pair in _pairs(text))


def _pairs(text: str) -> set[tuple[str, ...]]:
    parts = [words for part in _BETWEEN.split(text) if (words := words_of(part))]
    pairs: set[tuple[str, ...]] = {pair for words in parts for pair in pairwise(words)}
    return pairs or {tuple(words_of(text))}


def digest(
    entries: Sequence[DiaryEntry], *, max_items: int, told: Callable[[DiaryEntry], str]
) -> str:
    """The digest of some entries in order of time; empty where there are none. `told`: the time of
    an entry for people."""
    items, num_other = items_of(entries, max_items=max_items)
    lines = [f"{item.sentence} ({_times(item.entries, told)})." for item in items]
    if num_other:
        lines.append(f"More often: {num_other} other sentences.")
    return " ".join(lines)


def _times(entries: Sequence[DiaryEntry], told: Callable[[DiaryEntry], str]) -> str:
    if len(entries) <= MAX_TIMES:
        times = ", ".join(told(entry) for entry in entries)
        return times if len(entries) == 1 else f"{len(entries)} times: {times}"
    return f"{len(entries)} times, first {told(entries[0])}, last {told(entries[-1])}"
