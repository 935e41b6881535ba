"""What a sentence of the diary says happened: that something came, left, changed, moved or stopped.

Pure. A diary finds sentences by their words, so that "the circle left" is found for "how often did
a circle appear".
"""

import re
from collections.abc import Sequence
from enum import Enum

from onlooker.cache_store.diaries.words import stem_of, words_of
from onlooker.cache_store.diary import DiaryEntry


class Happening(Enum):
    """What may happen to a thing."""

    COMES = "comes"
    LEAVES = "leaves"
    CHANGES = "changes"
    MOVES = "moves"
    STOPS = "stops"


VERBS_OF = {
    Happening.COMES: "appear appears appeared arrive arrives arrived come comes came enter enters "
    "entered",
    Happening.LEAVES: "leave leaves left disappear disappears disappeared vanish vanishes vanished "
    "go goes went gone",
    Happening.CHANGES: "turn turns turned become becomes became change changes changed",
    Happening.MOVES: "move moves moved moving",
    Happening.STOPS: "stop stops stopped",
}
"""The verbs by which each is told, with blanks between."""
_OF_VERB = {verb: happening for happening, verbs in VERBS_OF.items() for verb in verbs.split()}
_PLACE = re.compile(r"\b(?:a|the|your|my|his|her|its|their|to|on|at|from)\s+left\b|\bleft\s+of\b")
_PARTICLE = re.compile(
    r"\b(go|goes|went|come|comes|came)\s+(on|by|back|up|down|in|into|out)\b|"
    r"\b(?:go|goes|went)\s+(?:to|past|through|along|around|across|over|under)\b"
)
_WITH_PARTICLE = {"in": Happening.COMES, "into": Happening.COMES, "back": Happening.COMES}
_STOP = re.compile(r"[.;!?]\s*")
_WORD = re.compile(r"[^\W_]+")
VERBS = frozenset(_OF_VERB)
"""All verbs that are known."""


def verbs_pattern(*happenings: Happening) -> str:
    """The verbs by which any of these is told, as alternatives of a regular expression."""
    return "|".join(verb for one in happenings for verb in VERBS_OF[one].split())


def happening_in(text: str) -> Happening | None:
    """What a statement says has happened; None where it tells how things are, or in other words.

    The first verb counts: what "left and came back" left.
    """
    bare = _PLACE.sub(" ", text.lower())
    for word in _WORD.finditer(bare):
        if (said := _PARTICLE.match(bare, word.start())) is not None:
            # "Went on", "went to" and "came by" say nothing of a coming or leaving.
            if said[1] in ("go", "goes", "went") and said[2] == "out":
                return Happening.LEAVES
            if (found := _WITH_PARTICLE.get(said[2])) is not None:
                return found
            continue
        if (happening := _OF_VERB.get(word[0])) is not None:
            return happening
    return None


def telling_of(
    happening: Happening | None, entries: Sequence[DiaryEntry], subject: Sequence[str]
) -> list[DiaryEntry]:
    """Of `entries` those that may tell of what is asked for.

    Of a coming also what is said to be there may tell, and what is told in unknown words; of all
    else only what says so, where anything does. Of a coming or leaving never what says that
    something else happened.

    Args:
        subject: the words of what it is to have happened to.
    """
    if happening is None:
        return list(entries)
    told = [(one, _claims_of(one, subject)) for one in entries]
    if happening is Happening.COMES:
        return [one for one, claims in told if claims & {happening, None}]
    if saying_so := [one for one, claims in told if happening in claims]:
        return saying_so
    if happening is Happening.LEAVES:
        return [one for one, claims in told if None in claims]
    return list(entries)


def claiming(
    happening: Happening, entries: Sequence[DiaryEntry], subject: Sequence[str]
) -> list[DiaryEntry]:
    """Of `entries` those that say just that of the subject."""
    return [one for one in entries if happening in _claims_of(one, subject)]


def _claims_of(entry: DiaryEntry, subject: Sequence[str]) -> set[Happening | None]:
    """What the sentences of an entry say of what they name; an entry may have several."""
    wanted = set(map(stem_of, subject))
    named = [one for one in _STOP.split(entry.text) if wanted.issubset(words_of(one))]
    return {happening_in(one) for one in named} or {None}
