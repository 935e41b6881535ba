"""What a sentence of the diary claims, as conditions that a yes/no check can be asked about.

Pure: text in, claims out. What comes was not there before and is there now; what leaves, the other
way round; what moves, or is listed, is there. Of what else a sentence may say nothing is claimed.
"""

import re
from dataclasses import dataclass, replace

from onlooker.streams.moments.happenings import VERBS_OF, Happening
from onlooker.watches.triggers.sight import colors_in


@dataclass(frozen=True, slots=True)
class WrittenClaim:
    """That something is so, or is not."""

    condition: str
    is_so: bool = True
    is_before: bool = False
    """Whether it is claimed of the clip before the sentence's, rather than of its own."""


def _any_of(*happenings: Happening) -> str:
    return "|".join(verb for one in happenings for verb in VERBS_OF[one].split())


_THING = (
    rf"(?:an?|the) (?P<thing>[\w-]+(?: (?!(?:{_any_of(*Happening)}|is|was|were|has|been)\b)"
    r"[\w-]+)*?)"
)
"""Its first word may look like a verb: "the left cup"."""
_CAME = re.compile(
    rf"{_THING} (?:(?:has )?(?:{_any_of(Happening.COMES)})(?: in| into view)?|shows up|showed up)",
    re.I,
)
_WENT = re.compile(rf"{_THING} (?:is |has )?(?:{_any_of(Happening.LEAVES)})(?: away| out)?", re.I)
_TURNED = re.compile(rf"{_THING} (?:has )?(?:{_any_of(Happening.CHANGES)}) (?P<color>\w+)", re.I)
_DID = re.compile(
    rf"{_THING} (?:started|starts|began|begins|{_any_of(Happening.MOVES, Happening.STOPS)})"
    r"(?: \w+)?",
    re.I,
)
_SHOWS = re.compile(r"(?P<what>(?:an?|the) [\w -]+?) now (?P<how>\w+ \w+)", re.I)
_LISTED = re.compile(r"an? [\w-]+(?: [\w-]+)?", re.I)


def claims_of(text: str) -> list[WrittenClaim]:
    """What all sentences of an entry claim."""
    sentences = [part.strip() for part in re.split(r"\.(?:\s+|$)", text)]
    return [claim for one in sentences if one for claim in _claims(one)]


def _claims(sentence: str) -> list[WrittenClaim]:
    if (found := _CAME.fullmatch(sentence)) is not None:
        there = _there_is(found["thing"])
        return [there, replace(there, is_so=False, is_before=True)]
    if (found := _TURNED.fullmatch(sentence)) is not None:
        return _turned(found["thing"], found["color"])
    if (found := _WENT.fullmatch(sentence)) is not None:
        there = _there_is(found["thing"])
        return [replace(there, is_before=True), replace(there, is_so=False)]
    if (found := _DID.fullmatch(sentence)) is not None:
        return [_there_is(found["thing"])]
    if (found := _SHOWS.fullmatch(sentence)) is not None:
        return [WrittenClaim(f"{found['what']} {found['how']}")]
    listed = re.split(r",\s+(?:and\s+)?|\s+and\s+", sentence)
    if all(_LISTED.fullmatch(one) for one in listed):
        return [_there_is(one.split(" ", 1)[1]) for one in listed]
    return []


def _turned(thing: str, color: str) -> list[WrittenClaim]:
    """That a thing had its colour before, and has another now."""
    if not colors_in(color):
        return []  # it turned left, or off
    before = [replace(_there_is(thing), is_before=True)]
    colors = colors_in(thing)[:1]
    return before + [_there_is(re.sub(rf"\b{one}\b", color, thing, flags=re.I)) for one in colors]


def _there_is(thing: str) -> WrittenClaim:
    article = "an" if thing[:1].lower() in "aeiou" else "a"
    return WrittenClaim(f"there is {article} {thing}")
