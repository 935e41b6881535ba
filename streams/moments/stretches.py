"""`Stretch`: what is so from one entry of the diary until the next.

Something is written where something changes, so nothing that was noticed changes within a stretch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onlooker.cache_store.diaries.words import stem_of, words_of
from onlooker.cache_store.diary import DiaryEntry
from onlooker.engine.memory.times import Span
from onlooker.streams.moments.claims import claims_of

MAX_LOOKS = 5
"""How often one stretch is looked at, at most."""

MIN_GAP_S = 1.0
"""Seconds between two looks, so that they are at different clips."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """From one entry of the diary until before the next."""

    entry: DiaryEntry
    looks_s: tuple[float, ...]
    """Times at which it may be looked at, the first of them that of its entry."""
    is_named: bool
    """Whether the entry tells of what is asked for."""
    is_phrase: bool
    """Whether it does so in so many words: in the order of the question, and nothing between, as
    they stand there or as what its sentences claim."""
    is_hinted: bool
    """Whether it tells of it in other words: not where all that it says is about other things."""
    is_first: bool
    """Whether it is the first of the times that are asked about, so that what was before it does
    not count."""
    asked: frozenset[str] = frozenset()
    """Stems of the words that are asked for."""

    @property
    def nearness(self) -> int:
        """How many of the words that are asked for the entry has."""
        return len(self.asked.intersection(words_of(self.entry.text)))

    @property
    def before_s(self) -> float:
        """A time just before it: the newest clip of then is the one before its first."""
        return math.nextafter(self.entry.start_s, -math.inf)


def stretches_of(
    entries: Sequence[DiaryEntry],
    spans: Sequence[Span],
    *,
    named: Sequence[DiaryEntry],
    subject: Sequence[str],
) -> list[Stretch]:
    """The stretches of some entries in order of time, each entry once. `spans`: the stream times
    that are asked about; `named`: the entries that tell of what is asked for; `subject`: its
    words."""
    names, asked = {one.start_s for one in named}, frozenset(stem_of(word) for word in subject)
    phrase = " ".join(stem_of(word) for word in subject)
    found: list[Stretch] = []
    for start_s, end_s in spans:
        within = {one.start_s: one for one in entries if start_s <= one.start_s <= end_s}
        times_s = sorted(within)  # none where nothing was written then
        for at_s, next_s in zip(times_s, [*times_s[1:], math.inf], strict=False):
            entry = within[at_s]
            last_s = end_s if next_s == math.inf else math.nextafter(next_s, -math.inf)
            # To read all words of a long diary would hold up every stream.
            is_phrase, is_hinted = _told(entry, phrase) if at_s in names else (False, False)
            num_more = min(MAX_LOOKS - 1, max(0, int((last_s - entry.end_s) / MIN_GAP_S)))
            gap_s = (last_s - entry.end_s) / max(1, num_more)
            found.append(
                Stretch(
                    entry,
                    (
                        entry.end_s,
                        *(entry.end_s + gap_s * number for number in range(1, num_more)),
                        *([last_s] if num_more else []),
                    ),
                    is_named=at_s in names,
                    is_phrase=is_phrase,
                    is_hinted=is_hinted,
                    is_first=at_s == times_s[0],
                    asked=asked,
                )
            )
    return found


def _told(entry: DiaryEntry, phrase: str) -> tuple[bool, bool]:
    """Whether an entry names a phrase in so many words, and whether it may tell of it otherwise."""
    written = claims_of(entry.text)
    said = [entry.text, *(one.condition for one in written.claims if one.is_so)]
    is_phrase = any(_has_phrase(text, phrase) for text in said)
    return is_phrase, not is_phrase and not written.are_all


def _has_phrase(text: str, phrase: str) -> bool:
    return f" {phrase} " in f" {' '.join(words_of(text))} "
