"""Slips: sentences of the diary that give away that the model took one thing for another.

Pure. Of two things that look alike a model may name one twice ("a blue cross and a blue cross"),
and of the thing that took another colour it may name the wrong one. What truly came is not named
then, so that no search for its words finds it; its checks do.
"""

import re
from collections.abc import Sequence

from onlooker.cache_store.diary import DiaryEntry
from onlooker.streams.moments.happenings import Happening, verbs_pattern
from onlooker.watches.triggers.sight import colors_in

_THING = re.compile(r"\ban? ([\w-]+(?: [\w-]+)?)(?=,| and\b|[.;]|$)", re.I)
_TURNED = verbs_pattern(Happening.CHANGES)


def slips_of(entries: Sequence[DiaryEntry], subject: Sequence[str]) -> list[DiaryEntry]:
    """Of `entries` those that may hide a thing with these words: what names a thing twice, and what
    says that something took its colour."""
    colors = "|".join(colors_in(" ".join(subject)))
    turned = re.compile(rf"\b(?:{_TURNED}) (?:{colors})\b", re.I) if colors else None
    return [
        one
        for one in entries
        if _names_twice(one.text) or (turned is not None and turned.search(one.text))
    ]


def _names_twice(text: str) -> bool:
    things = [found[1].lower() for found in _THING.finditer(text)]
    return len(set(things)) < len(things)
