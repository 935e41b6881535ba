"""What of a model's reply goes to a scorer.

The scorers of OVO-Bench and StreamingBench look at single characters or at substrings: "Answer: B"
counts as A for the one and as wrong for the other. So a scorer is given the bare letter or word, or
nothing where the reply has none; that can only lower a score.
"""

import re

from onlooker.benchmarks.adapters.asked import ReplyForm

_ALONE = re.compile(r"\s*[(\[]?([A-Z])(?:[)\].:,]|\s|$)")
_NAMED = re.compile(r"\b(?:answer|option|choice)\b(?:\s+is)?\W*\(?([A-Z])\b", re.IGNORECASE)
_YES_NO = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")
_WORDS = dict(
    zip(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
        range(11),
        strict=True,
    )
)


def bare(reply: str, form: ReplyForm, *, num_options: int = 26) -> str:
    """The letter, the word or the number that a reply comes down to; empty where it has none."""
    match form:
        case ReplyForm.LETTER:
            return _letter(reply, num_options)
        case ReplyForm.YES_NO:
            found = _YES_NO.search(reply)
            return found[1].capitalize() if found else ""
        case ReplyForm.NUMBER:
            return _number(reply)
        case ReplyForm.OPEN | ReplyForm.PUSHED:
            return reply.strip()


def _letter(reply: str, num_options: int) -> str:
    found = _ALONE.match(reply) or _NAMED.search(reply)
    if found is None:
        return ""
    letter = found[1].upper()
    return letter if ord(letter) - ord("A") < num_options else ""


def _number(reply: str) -> str:
    if (found := _NUMBER.search(reply)) is not None:
        return found[0]
    for word in re.findall(r"[a-z]+", reply.lower()):
        if word in _WORDS:
            return str(_WORDS[word])
    return ""
