"""Follow-ups: questions that lean on what was said before, read as questions that stand alone.

"And the star?" after "What colour is the circle?" asks for the colour of the star, and "When did it
appear?" after "A purple star" for when the purple star did. Small models bear no earlier turns, and
a diary is searched by the words of a question. So such a question is rewritten from the turn before
it, by rules; what no rule knows stays as it is. Conversational search calls this question rewriting
(CANARD, Elgohary et al. 2019), and does it with a model.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from onlooker.engine.interface import Question, Turn
from onlooker.engine.memory.times import Now, named_times, without_times

MAX_TURNS = 8
"""Turns that are read, the newest: a follow-up may lean on one that is a follow-up itself."""

MAX_LETTERS = 200
"""Letters of a question that may be a follow-up, and of what it may lean on."""

_DETERMINER = r"(?:an?|the|that|this)"
_NO_NAME = (
    "left|right|top|bottom|middle|centre|center|background|front|back|picture|scene|video|stream|"
    "camera|time|times|moment|first|last|end|beginning|same|other|next"
)
_AFTER_NAME = (
    "is|are|was|were|has|have|had|do|does|did|can|will|on|in|at|to|from|of|by|near|beside|behind|"
    "before|after|above|below|with|and|or|that|which|who|there|here|now|yet|still|ever|again|so|"
    "first|last|appear|appeared|leave|left|come|came|arrive|go|gone|move|moving|moved|start|stop|"
    "turn|turned|change|changed|show|shown|visible|seen|doing|wearing|holding|standing|sitting|"
    "since|during|between|for"
)
_NAME = re.compile(
    rf"\b{_DETERMINER}\s+(?P<name>(?!(?:{_NO_NAME})\b)[a-z][\w-]*"
    rf"(?:\s+(?!(?:{_AFTER_NAME})\b)[a-z][\w-]*){{0,3}})",
    re.IGNORECASE,
)
_OPENING = r"(?:(?:and|but|ok|okay|so)\b[\s,]*)?"
_ABOUT = (
    r"(?:what|how)\s+about\s+|(?:no|sorry)?[\s,]*(?:i|we)\s+mean[t]?\s+|(?:and|but|no)\b[\s,]+|"
    r"not\s+that[\s,]+"
)
_END = r"\s*[?.!]*\s*$"
_NO_THING = (
    r"colou?r|size|shape|number|name|answer|question|reason|rest|others?|ones|times?|is|are|was|were|has|"
    r"have|had|do|does|did|can|will|would|should|leaves?|appears?|appeared"
)
"""Words with which it is no other thing of which the same is asked."""
_THING = re.compile(
    rf"^{_OPENING}(?:{_ABOUT})(?P<thing>{_DETERMINER}\s+(?!(?:{_NO_NAME})\b)"
    rf"(?!(?:{_NO_THING})\b)[\w-]+(?:\s+(?!(?:{_NO_THING})\b)[\w-]+){{0,3}}?){_END}",
    re.I,
)
_WHICH_TIME = re.compile(
    rf"^{_OPENING}(?:(?:what|how)\s+about\s+|when\s+was\s+)?the\s+(?P<which>first|last)\s+time{_END}",
    re.I,
)
_EVENT = re.compile(r"^(?:when|how\s+often)\s+did\b", re.IGNORECASE)
_PLACE = re.compile(
    rf"^{_OPENING}(?:{_ABOUT})(?P<place>(?:on|in|at)\s+the\s+(?:{_NO_NAME})){_END}", re.I
)
_ANY_PLACE = re.compile(rf"\b(?:on|in|at)\s+the\s+(?:{_NO_NAME})\b", re.I)
_NOW = re.compile(rf"^{_OPENING}(?:(?:what|how)\s+about\s+|and\s+)?(?:right\s+)?now{_END}", re.I)
_TIME = re.compile(rf"^{_OPENING}(?:(?:what|how)\s+about\s+|and\s+)?(?P<when>.+?){_END}", re.I)
_AGAIN = re.compile(
    rf"^(?:(?:are\s+you|really)\s*(?:sure|certain)?|look\s+again|try\s+again){_END}", re.I
)
_IT = re.compile(r"\b(?:it|that one|this one)\b(?!['\u2019])", re.IGNORECASE)
_ASKS = re.compile(
    rf"^{_OPENING}(?:what|when|where|who|which|how|why|is|was|did|does|has|can|could|will|would)\b",
    re.I,
)
_BEGUN = re.compile(r"^(?:and|but|so)\b[\s,]*", re.IGNORECASE)
_DUMMY = re.compile(
    r"\b(?:what\s+(?:time|day)\s+(?:is|was)\s+it|(?:is|was|did|has|does)\s+it\s+(?:ever\s+|still\s+)?"
    r"(?:been\s+)?(?:rain|snow|hail|storm|dark|light|day|night|late|early|possible|true|quiet|busy|"
    r"get|look|seem|time|over|safe|enough|worth|ok\b|okay|alright|all right|cold|cool|warm|hot|"
    r"wind|sunny|cloud|fog|wet|dry|morning|noon|afternoon|evening|midnight|weekend|summer|winter|"
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|\d)|how\s+is\s+it\s+going|"
    r"what\s+is\s+it\s+like\s+(?:out|in)side)|"
    rf"^{_OPENING}(?:is|was|does|did|has|can|could|will|would)\s+it{_END}",
    re.IGNORECASE,
)
"""An "it" that is no thing; and "is it?", which asks for nothing new."""
_ANY_TIME = Now(asked_s=1e9, zero_wall_s=0.0)
"""To find the words that name times; which times they are is found where the stream is known."""
_IS_SO = re.compile(
    rf"^{_OPENING}(?:is|are|was|were)\s+(?:the|that|this)\s+(?:[\w-]+\s*){{2,4}}{_END}", re.I
)
_WHEN_THAT = re.compile(
    rf"^{_OPENING}when\s+(?:was\s+(?:that|it)|did\s+(?:that|it)\s+happen){_END}", re.I
)
_DID = re.compile(rf"^{_OPENING}did\s+(?:ever\s+)?(?P<what>(?!you\b|we\b|i\b).+?){_END}", re.I)
_WHICH = re.compile(r"\b(?:first|last)\b", re.IGNORECASE)
_WAS_THERE = re.compile(
    rf"^{_OPENING}(?:(?:is|was|has)\s+there\b|(?:did|have)\s+(?:you|we)\s+(?:ever\s+)?see)", re.I
)
_ONE = re.compile(r"\bone\b(?=$|\s+(?:on|in|at|near|by|behind|beside|with)\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Said:
    question: str
    answer: str


def understood(question: Question, turns: Sequence[Turn]) -> Question:
    """`question` with what it asks for where it leans on `turns`, which came before it. A model
    that is given none of them is asked in these words."""
    alone = standing_alone(question.text, turns)
    if alone is None:
        return question
    text = question.text if question.dialogue else alone
    return replace(question, text=text, understood=alone)


def dialogue_of(turns: Sequence[Turn], num_turns: int) -> tuple[Turn, ...]:
    """The last of `turns` that a question brings along, `num_turns` at most. An answer that was
    cancelled may have no words, and tells nothing."""
    told = [turn for turn in turns if turn.answer]
    return tuple(told[-num_turns:]) if num_turns else ()


def standing_alone(text: str, turns: Sequence[Turn]) -> str | None:
    """What `text` asks for where it leans on `turns`, which came before it; None where it stands
    alone, or where nothing is known of what it leans on."""
    said: _Said | None = None
    for turn in turns[-MAX_TURNS:]:
        said = _Said(_rewritten(turn.question, said) or turn.question, turn.answer)
    return _rewritten(text, said)


def _rewritten(text: str, said: _Said | None) -> str | None:
    text = " ".join(text.split())
    if said is None or max(len(text), len(said.question)) > MAX_LETTERS:
        return None
    if _NOW.match(text) or _AGAIN.match(text):
        again = said.question if _AGAIN.match(text) else _without_times(said.question)
        return again or None
    if (found := _PLACE.match(text)) is not None:
        return _replaced(_ANY_PLACE, said.question, found["place"])
    if (whole := _TIME.match(text)) is not None and _is_time(whole["when"]):
        return f"{_without_times(said.question).rstrip(' ?.!')} {whole['when']}?"
    if (found := _WHICH_TIME.match(text)) is not None:
        return _at_time(found["which"], said.question)
    if (found := _THING.match(text)) is not None:
        return _about_thing(found["thing"], said.question)
    if _WHEN_THAT.match(text) is not None:
        return _when(said)
    is_asked = _ASKS.match(text) is not None and _DUMMY.search(text) is None
    if is_asked and _IT.search(text) is not None and not _names(text):
        thing = _antecedent(said)
        return None if thing is None else _IT.sub(f"the {thing}", _BEGUN.sub("", text), count=1)
    return None


def _when(said: _Said) -> str | None:
    """When that was which was asked for: an event, or that something was there."""
    if (event := _DID.match(said.question)) is not None:
        return f"When did {event['what']}?"
    if _WAS_THERE.match(said.question) is None or (thing := _antecedent(said)) is None:
        return None
    return f"When did the {thing} appear?"


def _at_time(which: str, question: str) -> str | None:
    """`question`, which asks for the times of something, for the first or the last of them."""
    if _EVENT.match(question) is None or _WHICH.search(question) is not None:
        return None
    event = _EVENT.sub("When did", question).rstrip(" ?.!")
    return f"{event} for the {which.lower()} time?"


def _about_thing(thing: str, question: str) -> str | None:
    """`question` about another thing: of "the red one" the noun is that of the question."""
    names = list(_NAME.finditer(question))
    if len(names) != 1:
        return None
    old = names[0]
    if _ONE.search(thing) is not None:
        thing = _ONE.sub(lambda _: old["name"].split()[-1], thing)
    return f"{question[: old.start()]}{thing}{question[old.end() :]}"


def _antecedent(said: _Said) -> str | None:
    """What "it" is: the one thing that the answer names, or else the question."""
    if len(said.answer) > MAX_LETTERS:
        return None  # it may name more than is read
    for text in (said.answer, said.question):
        names = list(dict.fromkeys(_names(text)))
        if names:
            return names[0] if len(names) == 1 else None
    return None


def _names(text: str) -> list[str]:
    names = [found["name"].lower() for found in _NAME.finditer(text)]
    if names and _IS_SO.match(text) is not None:
        names[-1] = names[-1].rpartition(" ")[0] or names[-1]  # "is the door open?" is of a door
    return names


def _replaced(pattern: re.Pattern[str], text: str, by: str) -> str | None:
    return pattern.sub(by, text, count=1) if pattern.search(text) else None


def _is_time(text: str) -> bool:
    """Whether `text` names a time and nothing else."""
    return bool(named_times(text, _ANY_TIME)) and not re.search(
        r"\w", without_times(text, _ANY_TIME)
    )


def _without_times(text: str) -> str:
    bare = without_times(text, _ANY_TIME).rstrip(" ,?.!")
    return f"{bare}?" if bare else ""
