"""What a sentence of the diary claims, as conditions that a yes/no check can be asked about.

Pure: text in, claims out. What comes was not there before and is there now; what leaves, the other
way round; what moves, or is listed, is there. Of what else a sentence may say nothing is claimed.
"""

import re
from dataclasses import dataclass, replace

from onlooker.streams.moments.happenings import Happening, verbs_pattern
from onlooker.watches.triggers.sight import colors_in


@dataclass(frozen=True, slots=True)
class WrittenClaim:
    """That something is so, or is not."""

    condition: str
    is_so: bool = True
    is_before: bool = False
    """Whether it is claimed of the clip before the sentence's, rather than of its own."""


@dataclass(frozen=True, slots=True)
class WrittenClaims:
    """What the sentences of an entry claim."""

    claims: tuple[WrittenClaim, ...]
    are_all: bool
    """Whether that is all they say, so that they are so where the claims are."""


_NOTHING = WrittenClaims((), are_all=False)


_THING = (
    rf"(?:an?|the) (?P<thing>[\w-]+(?: (?!(?:{verbs_pattern(*Happening)}|is|was|were|has|been)\b)"
    r"[\w-]+)*?)"
)
"""Its first word may look like a verb: "the left cup"."""
_CAME = re.compile(
    rf"{_THING} (?:(?:has )?(?:{verbs_pattern(Happening.COMES)})(?: in| into view)?|"
    r"shows up|showed up)",
    re.I,
)
_WENT = re.compile(
    rf"{_THING} (?:is |has )?(?:{verbs_pattern(Happening.LEAVES)})(?: away| out)?", re.I
)
_TURNED = re.compile(
    rf"{_THING} (?:has )?(?:{verbs_pattern(Happening.CHANGES)}) (?P<color>\w+)", re.I
)
_DID = re.compile(
    rf"{_THING} (?:started|starts|began|begins|{verbs_pattern(Happening.MOVES, Happening.STOPS)})"
    r"(?: \w+)?",
    re.I,
)
_SHOWS = re.compile(r"(?P<what>(?:an?|the) [\w -]+?) now (?P<how>\w+ \w+)", re.I)
_LISTED = re.compile(r"an? [\w-]+(?: [\w-]+)?", re.I)


def claims_of(text: str) -> WrittenClaims:
    """What all sentences of an entry claim."""
    sentences = [part.strip() for part in re.split(r"\.(?:\s+|$)", text)]
    of_each = [_claims(one) for one in sentences if one]
    return WrittenClaims(
        tuple(claim for one in of_each for claim in one.claims),
        all(one.are_all for one in of_each),
    )


def _claims(sentence: str) -> WrittenClaims:
    if (found := _CAME.fullmatch(sentence)) is not None:
        there = _there_is(found["thing"])
        return _all(there, replace(there, is_so=False, is_before=True))
    if (found := _TURNED.fullmatch(sentence)) is not None:
        return _turned(found["thing"], found["color"])
    if (found := _WENT.fullmatch(sentence)) is not None:
        there = _there_is(found["thing"])
        return _all(replace(there, is_before=True), replace(there, is_so=False))
    if (found := _DID.fullmatch(sentence)) is not None:
        return WrittenClaims((_there_is(found["thing"]),), are_all=False)  # not that it moves
    if (found := _SHOWS.fullmatch(sentence)) is not None:
        return _all(WrittenClaim(f"{found['what']} {found['how']}"))
    listed = re.split(r",\s+(?:and\s+)?|\s+and\s+", sentence)
    if all(_LISTED.fullmatch(one) for one in listed):
        return _all(*(_there_is(one.split(" ", 1)[1]) for one in listed))
    return _NOTHING


def _turned(thing: str, color: str) -> WrittenClaims:
    """That a thing had its colour before, and has another now."""
    new, old = colors_in(color), colors_in(thing)[:1]
    if not new:
        return _NOTHING  # it turned left, or off
    had = replace(_there_is(thing), is_before=True)
    if not old:
        return WrittenClaims((had,), are_all=False)
    if new == old:
        return _all(had, replace(had, is_so=False))  # it cannot take the colour that it has
    return _all(had, _there_is(re.sub(rf"\b{old[0]}\b", color, thing, flags=re.I)))


def _all(*claims: WrittenClaim) -> WrittenClaims:
    return WrittenClaims(claims, are_all=True)


def _there_is(thing: str) -> WrittenClaim:
    article = "an" if thing[:1].lower() in "aeiou" else "a"
    return WrittenClaim(f"there is {article} {thing}")
