"""Things of one kind, each looked for by itself: every circle, where circles are asked for.

Pure. A small model can be asked for "a red circle" and not for "a circle". And who asks how often a
circle appeared means each: that one was there already does not make the next no coming. So what the
sentences of the diary name is asked for, each thing for itself, and what was found is told as one.
"""

import re
from collections.abc import Sequence

from onlooker.cache_store.diaries.words import stem_of, words_of
from onlooker.cache_store.diary import DiaryEntry
from onlooker.engine.wording import Wording
from onlooker.streams.moments.happenings import VERBS, Happening
from onlooker.streams.moments.moment_search import FoundTimes
from onlooker.streams.moments.question_plan import Wanted

MAX_THINGS = 16
"""Things of one kind that are looked for each by itself; those named most often come first."""

MAX_NAME_WORDS = 5

_WORD = re.compile(r"[^\W_]+")
_ARTICLE = re.compile(r"\b(?:an?|the)\s+", re.IGNORECASE)
_NO_NAME = VERBS | {
    "and", "or", "is", "are", "was", "were", "has", "have", "had", "with", "without", "of", "on",
    "in", "at", "to", "from", "by", "into", "started", "starts", "now", "just", "shows",
}  # fmt: skip


def conditions_in(
    entries: Sequence[DiaryEntry],
    subject: Sequence[str],
    happening: Happening | None,
    wording: Wording,
) -> tuple[list[str], bool]:
    """What the model has questions for, and what the entries say of things of a kind: "an orange
    circle appears" of "a blue cross and an orange circle", where circles are asked for. Those that
    are named most often come first, `MAX_THINGS` at most. And whether that is all of what they say.

    Args:
        subject: the words of the kind.
        happening: what is asked for of such things; None: that they are there.
    """
    if happening not in (Happening.COMES, Happening.LEAVES, None):
        return [], False
    wanted = frozenset(map(stem_of, subject))
    verb = "leaves" if happening is Happening.LEAVES else "appears"
    form = "there is a {thing}" if happening is None else f"a {{thing}} {verb}"
    counts, are_all = dict[str, int](), True
    for entry in entries:
        found = [_condition(name, wanted, form, wording) for name in _names_in(entry.text)]
        are_all = are_all and any(found)
        for condition in filter(None, found):
            counts[condition] = counts.get(condition, 0) + 1
    names = sorted(counts, key=lambda one: -counts[one])
    return names[:MAX_THINGS], are_all and len(names) <= MAX_THINGS


def _names_in(text: str) -> list[list[str]]:
    """The words of all that has an article in `text`, up to a word that is no part of its name."""
    names = []
    for part in _ARTICLE.split(text.lower())[1:]:
        name: list[str] = []
        for word in _WORD.findall(part)[:MAX_NAME_WORDS]:
            if word in _NO_NAME:
                break
            name.append(word)
        names.append(name)
    return names


def _condition(
    name: Sequence[str], wanted: frozenset[str], form: str, wording: Wording
) -> str | None:
    for count in range(1, len(name) + 1):
        if wanted.issubset(words_of(" ".join(name[:count]))):
            condition = form.replace("{thing}", " ".join(name[:count]))
            if wording.rule_for(condition) is not None:
                return condition
    return None


def told_as_one(
    found: Sequence[FoundTimes], wanted: Wanted, *, is_whole: bool = True
) -> FoundTimes:
    """What was found of each thing, as of the kind. Things that came in one moment came once.

    Args:
        is_whole: whether no thing of the kind was left out.
    """
    times = {moment.at_s: moment for one in found for moment in one.moments}
    moments = [times[at_s] for at_s in sorted(times)]
    is_exact = is_whole and all(one.is_exact for one in found)
    if wanted is Wanted.FIRST:
        return FoundTimes(moments[:1], is_exact)
    if wanted not in (Wanted.LAST, Wanted.LAST_SEEN):
        return FoundTimes(moments, is_exact)
    lasting = [one for one in found if one.is_lasting]
    return FoundTimes(lasting[-1].moments if lasting else moments[-1:], is_exact, bool(lasting))
