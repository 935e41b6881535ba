"""What a question to several streams is to each of them.

"Which camera sees a red car?" means nothing to one camera. What can be asked of it is whether there
is a red car; which camera it is follows from the answers.
"""

import re
from dataclasses import dataclass
from typing import Literal

from onlooker.engine.memory.times import Now
from onlooker.engine.wording import Wording
from onlooker.streams.moments.question_plan import Wanted, plan_of

Form = Literal["which", "any", "each"]

_CAMERAS = r"(?:(?:one\s+)?of\s+(?:the|my|our|these)\s+)?(?:cameras?|streams?|views?|feeds?)"
_WHICH = re.compile(
    rf"^\s*(?:(?:on|in|to|by)\s+)?(?:which|what)\s+{_CAMERAS}\s+(?P<does>.+?)\s*\?*\s*$", re.I
)
_SEES = re.compile(
    r"^(?:can\s+|do\s+|does\s+)?(?:(?:now|currently)\s+)?"
    r"(?:sees?|shows?|has|have|(?:is|are)\s+(?:now\s+)?(?:seeing|showing)|is\s+there|are\s+there|"
    r"do\s+you\s+see)\s+(?P<what>.+)$",
    re.I,
)
_SAW = re.compile(
    r"^(?:ever\s+)?(?:saw|showed|had|(?:has|have)\s+(?:ever\s+)?(?:seen|shown|had)|"
    r"did\s+(?:you\s+)?(?:ever\s+)?see|have\s+you\s+(?:ever\s+)?seen|was\s+there|were\s+there)\s+"
    r"(?P<what>.+)$",
    re.I,
)
_ANYWHERE = re.compile(
    r"\s*,?\s+(?:anywhere|somewhere|(?:on|in|at|to|by|before)\s+any(?:\s+one)?\s+"
    rf"(?:of\s+the\s+)?{_CAMERAS})(?P<rest>\b.*)$",
    re.I,
)
_YES_OR_NO = re.compile(
    r"^\s*(?:is|are|was|were|did|does|do|has|have|had|can|could|will|would|isn't|aren't)\b", re.I
)
_NOW = re.compile(r"^\s*(?:is|are|isn't|aren't|do\s+you\s+see|can\s+you\s+see|does|can)\b", re.I)
_THEN = re.compile(
    r"\b(?:ago|yesterday|today|earlier|before|since|last|between|at\s+\d|in\s+the\s+(?:last|past))\b",
    re.I,
)
_NO_PLACE = re.compile(
    r"^\s*(?:is|are|was|were)\s+(?:anybody|anyone|anything|somebody|someone|something)\s*$", re.I
)
_HANGING = re.compile(r"(?:\s+(?:now|right\s+now|at\s+the\s+moment|on|in))+$", re.I)
_THE = re.compile(r"^(?:the|a|an)\s+(?=(?P<sound>\w))", re.I)


@dataclass(frozen=True, slots=True)
class Framed:
    """A question to several streams."""

    form: Form
    """``which``: which of them; ``any``: whether any; ``each``: what each says for itself."""
    text: str
    """What is asked of each stream."""
    is_now: bool = False
    """Whether it is about what is there now, so that its answer rests on what was seen last."""
    wanted: Wanted | None = None
    """What is wanted of the past, where it asks when or how often something was."""


def framed(question: str, wording: Wording) -> Framed:
    """How a question to several streams is put to each. `wording`: how the model wants to be asked
    whether something is there."""
    if (which := _WHICH.match(question)) is not None:
        text = _of_one(which["does"], question, wording)
        is_now = _SAW.match(which["does"]) is None and _THEN.search(question) is None
        return Framed("which", text, is_now=is_now)
    asked = question.strip()
    if (anywhere := _ANYWHERE.search(asked)) is not None and _YES_OR_NO.match(asked):
        before = asked[: anywhere.start()]
        if _NO_PLACE.match(before):
            before += " there"
        rest = anywhere["rest"].strip().rstrip("?").strip()
        text = f"{before}{' ' if rest else ''}{rest}?"
        return Framed("any", text, is_now=_is_now(text))
    if _YES_OR_NO.match(asked):
        return Framed("any", asked, is_now=_is_now(asked))
    plan = plan_of(asked, Now(0.0))
    return Framed("each", asked, wanted=None if plan is None else plan.wanted)


def _of_one(does: str, question: str, wording: Wording) -> str:
    """The question to one camera whether it is the one."""
    if (saw := _SAW.match(does)) is not None:
        return f"Have you seen {_a(_HANGING.sub('', saw['what']))}?"
    if (sees := _SEES.match(does)) is not None:
        thing = _a(_HANGING.sub("", sees["what"]))
        in_its_words = wording.rule_for(f"there is {thing}")
        return f"Is there {thing}?" if in_its_words is None else in_its_words.text
    asked = question.strip().rstrip("?")
    return (
        f"{asked}? Answer for this camera alone: begin with yes if it is one of them and with no "
        "if it is not."
    )


def _is_now(question: str) -> bool:
    return _NOW.match(question) is not None and _THEN.search(question) is None


def _a(thing: str) -> str:
    """ "the red car" as something that may be there or not: "a red car"."""
    found = _THE.match(thing)
    if found is None:
        return thing
    article = "an" if found["sound"].lower() in "aeiou" else "a"
    return f"{article} {thing[found.end() :]}"
