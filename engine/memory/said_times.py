"""Times that an answer names, held to those that the model had in view.

A model reads a time off the stamps of the clips in its context. A time that none of them bears was
not read there. Small models misread its beginning: "at 3513 seconds", where the clip that they
looked at is stamped 1813. What to tell instead is found out elsewhere (`gateway/time_finder.py`),
or it is the only stamp in view that ends as the time does.

Only "at ... seconds" and a stamp as the model writes it (``<12.5 seconds>``) are taken for times:
a count, an amount of time ("for 12 seconds"), a clock time ("at 14:32") and "about 120 seconds"
were not read off a stamp, and stay as they are.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from onlooker.engine.interface import MisreadTime, Question
from onlooker.engine.memory.shown import ShownClip

NEAR_S = 1.0
"""Seconds beside what a clip stands for that count as in view: answers name whole seconds."""

ROUND_S = 10.0
"""A multiple of this may be a stamp that was rounded, and counts as in view so far beside it."""

ENDING_S = 100
"""Two times end alike if they differ by a multiple of so many seconds, fractions left out."""

_AT = r"(?:\bat\s{1,3}|<)"
_FLAGS = re.IGNORECASE | re.ASCII
_SAID = re.compile(rf"{_AT}(\d{{1,7}}(?:\.\d{{1,3}})?)(?=\s{{0,3}}seconds)", _FLAGS)
_BEGUN = re.compile(
    rf"{_AT}(\d{{1,7}}(?:\.\d{{0,3}})?\s{{0,3}}(?:s(?:e(?:c(?:o(?:n(?:d)?)?)?)?)?)?)\Z", _FLAGS
)
"""What may become a time: up to the last letter of its unit."""
_LOOK_BACK = 64
"""Characters, more than stand in a time up to its unit."""
_NUMBER = re.compile(r"\d{1,7}(?:\.\d{1,3})?")


@dataclass(frozen=True, slots=True)
class TimesInView:
    """The times that an answer can have read."""

    shown: Sequence[ShownClip]
    """The clips of its context."""
    texts: Sequence[str] = ()
    """What else stands there and may name times."""

    @classmethod
    def of(cls, question: Question, shown: Sequence[ShownClip]) -> "TimesInView":
        """What an answer to `question` can have read whose context has these clips."""
        said = [text for turn in question.dialogue for text in (turn.question, turn.answer)]
        return cls(shown, [question.text, question.instructions or "", *said])

    def has(self, said_s: float) -> bool:
        """Whether it can have been read: a clip stands for it, or nearly, or words name it."""
        near_s = NEAR_S if said_s % ROUND_S else ROUND_S
        near = (
            clip.start_s - near_s <= said_s <= max(clip.until_s, clip.stamp_s) + near_s
            for clip in self.shown
        )
        return any(near) or any(
            float(number) == said_s for text in self.texts for number in _NUMBER.findall(text)
        )

    def alike(self, said_s: float) -> float | None:
        """The only stamp in view that ends as this time does; None where there is none, or more
        than one."""
        ending = int(said_s) % ENDING_S
        found = {clip.stamp_s for clip in self.shown if int(clip.stamp_s) % ENDING_S == ending}
        return found.pop() if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class UnsettledTime:
    """A misread time for which it is to be found out what to tell in its place."""

    said_s: float
    opening: str
    """What the answer says before it."""


class TimeMender:
    """Reads one answer, piece by piece, and gives it on with its misread times mended. The digits
    of a time are held back until its unit has come, some tokens later; and where it is misread, all
    that follows, until `settle` says what to tell."""

    def __init__(self, view: TimesInView) -> None:
        self._view = view
        self._text = ""
        self._num_done = 0
        self._told: list[str] = []
        self._open: re.Match[str] | None = None
        self.misread: list[MisreadTime] = []
        """The times that nothing in view bears, in order."""
        self.num_seen = 0
        """How many times were named that can have been read."""

    def take(self, piece: str) -> str:
        """Read on; returns the text that may be given out."""
        self._text += piece
        return self._go_on()

    @property
    def unsettled(self) -> UnsettledTime | None:
        """The misread time at which the text is held back; None where none is."""
        if self._open is None:
            return None
        return UnsettledTime(float(self._open[1]), "".join(self._told))

    def settle(self, told_s: float | None) -> str:
        """Tell this time in place of the unsettled one, or with None what the model wrote; returns
        the text that may be given out."""
        assert self._open is not None
        number, stop = self._open[1], self._open.end(1)
        self.misread.append(MisreadTime(float(number), told_s))
        self._open, self._num_done = None, stop
        said = self._say(number if told_s is None else _written(told_s, like=number))
        return said + self._go_on()

    def end(self) -> str:
        """Call when the answer has ended and all is settled; returns what was held back."""
        assert self._open is None
        return self._say_up_to(len(self._text))

    def _go_on(self) -> str:
        """The text up to the next misread time, or what may become a time."""
        if self._open is not None:
            return ""
        back = max(0, self._num_done - _LOOK_BACK)
        begun = _BEGUN.search(self._text, back)
        end = len(self._text) if begun is None else begun.start(1)
        for match in _SAID.finditer(self._text, back):
            if match.start(1) < self._num_done:
                continue
            if not self._view.has(float(match[1])):
                self._open, end = match, match.start(1)
                break
            self.num_seen += 1
        return self._say_up_to(end)

    def _say_up_to(self, end: int) -> str:
        start, self._num_done = self._num_done, max(end, self._num_done)
        return self._say(self._text[start : self._num_done])

    def _say(self, text: str) -> str:
        self._told.append(text)
        return text


def _written(at_s: float, *, like: str) -> str:
    """A time with as many decimals as the number has in whose place it is told."""
    decimals = len(like.partition(".")[2])
    return f"{at_s:.{decimals}f}" if decimals else str(int(at_s))
