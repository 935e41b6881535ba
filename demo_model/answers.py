"""A question with its true answer, and how a reply is marked."""

from __future__ import annotations

import re
from dataclasses import dataclass

SILENCE = "<|silence|>"
CANNOT_TELL = "I can't tell."

NUMBER_WORDS = (
    "none",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)

_SKIPPED = {"a", "an", "the", "it", "is", "was", "at", "s"}
_ALIKE = {"zero": "none", "nothing": "none", **{str(n): w for n, w in enumerate(NUMBER_WORDS)}}


@dataclass(frozen=True, slots=True)
class DrawnQuestion:
    """One question about some clips.

    `answer` is what the model is taught to say; `accepted` holds every right answer, it included.
    `evidence` are the indices of the clips that a right answer needs (empty: none in particular,
    or all of them). `history` holds the turns before this one as (question, answer).
    """

    family: str
    text: str
    answer: str
    evidence: tuple[int, ...] = ()
    accepted: tuple[str, ...] = ()
    history: tuple[tuple[str, str], ...] = ()

    @property
    def all_accepted(self) -> tuple[str, ...]:
        """Every right answer, the one that is taught first."""
        return (self.answer, *(a for a in self.accepted if a != self.answer))


def normalize(text: str) -> str:
    """Text without case, punctuation, articles and special tokens; numbers as words.

    Numbers of seconds keep their whole part: "At 12.4 seconds." becomes "12 seconds".
    """
    text = re.sub(r"<\|[^|]*\|>", " ", text.lower()).replace("\u2019", "'")
    text = re.sub(r"(\d+)(?:\.\d+)?\s*(?:seconds|second|secs|sec|s)\b", r"\1seconds", text)
    words = re.findall(r"[a-z0-9]+(?:'[a-z]+)?", text)
    kept = [_ALIKE.get(word, word) for word in words if word not in _SKIPPED]
    return re.sub(r"(\d)seconds", r"\1 seconds", " ".join(kept))


def correct(question: DrawnQuestion, reply: str) -> bool:
    """Whether a reply says the same as one of the accepted answers. Silence is an empty reply."""
    said = normalize(reply)
    return any(said == normalize(answer) for answer in question.all_accepted)


def time_answer(second: int) -> str:
    """The words by which an answer names the time of `second`, in seconds."""
    return f"at {second} seconds"


def spoken_time(text: str) -> float | None:
    """The first time in seconds that a text names, or None: 12.5 for "12.5 s" or "second 12.5"."""
    found = re.search(r"(\d+(?:\.\d+)?)\s*(?:seconds|second|secs|sec|s)\b", text.lower())
    if found is None:
        found = re.search(r"\b(?:seconds|second|sec)\s+(\d+(?:\.\d+)?)", text.lower())
    return float(found.group(1)) if found else None
