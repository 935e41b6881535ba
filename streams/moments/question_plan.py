"""`QuestionPlan`: what a question that needs the past as a whole asks for, by rules.

Pure: text in, plan out. A question that no rule knows has no plan, and is answered by the model
from what its context holds.
"""

import re
from dataclasses import dataclass, replace
from enum import Enum

from onlooker.cache_store.diaries.words import stem_of, whole_words_of, words_of
from onlooker.engine.memory.times import (
    Now,
    Span,
    named_spans,
    named_times,
    without_times,
)


class Wanted(Enum):
    """What is wanted of the moments at which something was so."""

    EACH = "each"
    """Every time it began."""
    COUNT = "count"
    FIRST = "first"
    LAST = "last"
    """The newest time it began."""
    LAST_SEEN = "last_seen"
    """When it was to be seen for the last time."""
    SUMMARY = "summary"
    """What happened."""


@dataclass(frozen=True, slots=True)
class QuestionPlan:
    """How a question is to be answered."""

    wanted: Wanted
    condition: str
    """What the moments are of, as a watch would have it: "a red circle appears"; empty for a
    summary."""
    subject: tuple[str, ...]
    """The words by which the diary tells of it."""
    spans: tuple[Span, ...]
    """The stream times that are asked about, in order; no two overlap."""
    is_plain: bool = True
    """Whether it does not say how to answer, such as in which language."""

    def about(self, condition: str) -> "QuestionPlan":
        """The same of another condition."""
        return replace(self, condition=condition, subject=_subject_of(condition))


MAX_LETTERS = 400
"""Letters of a question that may have a plan. What is longer says more than any rule knows."""

_END = r"\s*[?.!]*\s*$"
_DID = r"(?:did|has|have|had|was|were)"
_NOT_PAST = re.compile(
    r"^(?:does|do|is|are|will|can|could|should|would|may|might)\b", re.IGNORECASE
)
_SEE = r"(?:(?:you|i|we|the camera)\s+)?(?:see|saw|seen|notice|noticed|show|shown)"
_RULES: tuple[tuple[str, Wanted], ...] = (
    (r"how\s+(?:often|many\s+times)\s+(?P<what>.+)", Wanted.COUNT),
    (
        r"(?:please\s+)?(?:list|show(?:\s+me)?|give(?:\s+me)?|tell\s+me|name|find)\s+"
        r"(?:all|every|each)(?:\s+of)?(?:\s+the)?\s+(?:times?|moments?|occasions?)\s*"
        r"(?:when|that|at\s+which|in\s+which|,)?\s+(?P<what>.+)",
        Wanted.EACH,
    ),
    (r"(?:at\s+(?:what|which)\s+times|on\s+which\s+occasions)\s+(?P<what>.+)", Wanted.EACH),
    (
        r"(?:when|(?:at\s+)?what\s+time)\s+(?:was|is)\s+the\s+(?P<which>first|last)\s+(?:time|moment)\s*"
        r"(?:that|when)?\s+(?P<what>.+)",
        Wanted.EACH,
    ),
    (r"(?:when|(?:at\s+)?what\s+time)\s+(?P<what>.+)", Wanted.EACH),
    (
        r"(?:what\s+(?:has\s+|had\s+|have\s+you\s+seen\s+)?happen(?:ed)?|what\s+went\s+on|"
        r"what\s+was\s+going\s+on|what\s+did\s+i\s+miss|what\s+changed|summari[sz]e|sum\s+up|"
        r"give\s+me\s+a\s+summary|tell\s+me\s+what\s+happened)\b(?P<what>.*?)",
        Wanted.SUMMARY,
    ),
)
_COMPILED = [(re.compile(rf"^\s*{rule}{_END}", re.IGNORECASE), wanted) for rule, wanted in _RULES]

_NOW_ONLY = re.compile(r"\b(?:just|right now|just now)\b", re.IGNORECASE)
_SO_FAR = re.compile(
    r"\s*,?\s*\b(?:so far|until now|up to now|to date|in (?:the |this )?(?:stream|video|recording)|"
    r"during (?:the |this )?(?:stream|video|recording)|in (?:all|total))\b",
    re.IGNORECASE,
)
_WHICH = re.compile(r"\b(?:for\s+the\s+)?(first|last|latest|most\s+recently)(?:\s+time)?\b", re.I)
_NO_PLAN = re.compile(
    r"\b(?:n?or|either|not|never|nobody|nothing|no)\b|n['\u2019]t\b|"
    r"\b(?:second|third|fourth|fifth|next|other|2nd|3rd|\d+th)\b|"
    r"(?:[?;:,]|\b(?:and|but)\b)\s*(?:and\s+|but\s+|then\s+)?"
    r"(?:who|whom|whose|what|which|when|where|why|how|is|are|was|were|do|does|did|say|tell)\b",
    re.IGNORECASE,
)
"""One of several things, that something is not so, a moment by its number, or a second question:
the checks of one condition cannot tell these."""
_FILLER = re.compile(r"\b(?:exactly|precisely|actually|again|ever|please)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
_WHOLE = frozenset(
    _WORD.findall(
        "a all also away been briefly camera day during everything exactly footage for front gone "
        "happened has have here i in inside it lately me meanwhile of on outside overall please "
        "quickly recently recording saw seen shortly so stream that the there this today tonight "
        "us very video was we were what while you"
    )
)
"""Words behind "what happened" with which all that happened is still what is asked for."""
_SAYS_HOW = re.compile(
    r"^(?:please\s+)?(?:summari[sz]e|sum\s+up|give\s+me\s+a\s+summary)\b(?P<what>.*?)"
    rf"\b(?:in|as|with|like)\s+(?!(?:the|this)\b)(?:\w+\s+){{0,3}}\w+{_END}",
    re.IGNORECASE,
)
_STRANDED = re.compile(
    r"\s+(?:at|in|on|between|from|since|during|around|about)(?:\s+(?:the|this))?\s*$", re.IGNORECASE
)

_WE_SAW = re.compile(
    r"(?:you|i|we|the\s+camera)\s+(?:(?:have|has|had)\s+)?(?:saw|seen|noticed|showed|shown)\s+"
    r"(?P<thing>.+)",
    re.IGNORECASE,
)
_AWAY = re.compile(r"(?P<thing>.+)\s+(?:gone|away)", re.IGNORECASE)
_ANY_TIME = Now(asked_s=1e11, zero_wall_s=0.0)
"""When all times have been seen, so that words that name one are found."""

MAX_NAME_WORDS = 3
"""Words of a mere name, as in "when was the last delivery?"."""

_STATES = frozenset({"there", "seen", "visible", "present", "here", "shown"})
_VERBS = frozenset(
    words_of(
        "appear come came arrive leave left go goes went gone away disappear show seen see saw "
        "turn become be start stop begin began visible present there enter pass passed happen "
        "change appears someone somebody anyone anybody something anything what who one time times"
    )
)
"""Words that say what happened to a thing, for which the diary may have others."""


def plan_of(question: str, now: Now) -> QuestionPlan | None:
    """The plan of `question`, asked at `now`; None where it needs no plan.

    A question about what has *just* happened is about the newest clips, not about the past. Nor has
    one a plan that names a time that was not seen.
    """
    question = " ".join(question.split())
    if len(question) > MAX_LETTERS or _NOW_ONLY.search(question):
        return None
    spans = tuple(named_spans(question, now)) or ((0.0, now.asked_s),)
    bare = _SO_FAR.sub("", without_times(question, now)).strip()
    if named_times(bare, _ANY_TIME):
        return None
    for rule, wanted in _COMPILED:
        if (match := rule.match(bare)) is None:
            continue
        if wanted is Wanted.SUMMARY:
            # "What happened to the parcel?" is about one thing, which the model is to look at.
            says_how = _SAYS_HOW.match(bare)
            about = match["what"] if says_how is None else says_how["what"]
            words = _WORD.findall(_STRANDED.sub("", about).lower())
            if not _WHOLE.issuperset(words):
                return None
            return QuestionPlan(wanted, "", (), spans, is_plain=says_how is None)
        return _about(wanted, match, spans)
    return None


def _about(wanted: Wanted, match: re.Match[str], spans: tuple[Span, ...]) -> QuestionPlan | None:
    what = " ".join(_FILLER.sub("", match["what"]).split())
    if _NOT_PAST.match(what) or _NO_PLAN.search(what):
        return None
    which = match.groupdict().get("which")
    if wanted is Wanted.EACH and which is None and (found := _WHICH.search(what)) is not None:
        which = found[1].lower()
        what = what[: found.start()] + what[found.end() :]
    condition, is_state = _condition(what)
    subject = _subject_of(condition)
    if not subject:
        return None
    if which == "first":
        wanted = Wanted.FIRST
    elif which is not None:
        wanted = Wanted.LAST_SEEN if is_state else Wanted.LAST
    return QuestionPlan(wanted, condition, subject, spans)


def _subject_of(condition: str) -> tuple[str, ...]:
    """The words of a condition, each once, without those for what happens."""
    words = dict.fromkeys(whole_words_of(condition))
    return tuple(word for word in words if stem_of(word) not in _VERBS)


def _condition(what: str) -> tuple[str, bool]:
    """What a question asks the times of, as a statement, and whether that is how things are rather
    than what happens: "did a red circle appear" becomes "a red circle appears"."""
    text = _STRANDED.sub("", " ".join(what.split()).rstrip(" ,?.!"))
    if (begun := re.match(rf"{_DID}\s+", text, re.IGNORECASE)) is None:
        if (seen := _WE_SAW.match(text)) is not None:
            return f"there is {seen['thing']}", True
        return _present(text), False
    helper, text = begun[0].strip().lower(), text[begun.end() :]
    seen = re.match(rf"{_SEE}\s+(?P<thing>.+)", text, re.IGNORECASE)
    if seen is not None:
        thing = seen["thing"]
        is_event = thing.split()[-1].lower() in ("appear", "leave", "come", "go", "disappear")
        return (_inflected(thing), False) if is_event else (f"there is {thing}", True)
    if helper in ("was", "were"):
        if (away := _AWAY.fullmatch(text)) is not None:  # it went then, and was not to be seen
            return f"{away['thing']} leaves", False
        thing = re.sub(rf"\s+(?:{'|'.join(_STATES)})$", "", text, flags=re.IGNORECASE)
        is_named = thing != text or len(text.split()) <= MAX_NAME_WORDS
        return (f"there is {thing}", True) if is_named else (text, True)
    return (_inflected(text), False) if helper == "did" else (_present(text), False)


def _inflected(text: str) -> str:
    """The words "a red circle appear" with the ending that "did" took from their verb."""
    words = text.split()
    for index, word in enumerate(words[1:], 1):
        if word.lower() in _BARE_VERBS:
            words[index] = f"{word}es" if word.endswith(("sh", "ch", "o", "x")) else f"{word}s"
            break
    return " ".join(words)


def _present(text: str) -> str:
    """The words "a red circle appeared" as they are said while it happens."""
    return " ".join(_PRESENT.get(word.lower(), word) for word in text.split())


_BARE_VERBS = frozenset(
    {"appear", "leave", "arrive", "come", "go", "disappear", "move", "change", "stop", "start",
     "pass", "enter", "fall", "open", "close", "bark", "ring", "show", "say", "turn", "become",
     "walk", "drive", "stand", "sit", "take", "put", "bring", "knock"}
)  # fmt: skip
_PRESENT = {
    "appeared": "appears", "left": "leaves", "arrived": "arrives", "came": "comes", "gone": "goes",
    "went": "goes", "disappeared": "disappears", "changed": "changes", "stopped": "stops",
}  # fmt: skip
