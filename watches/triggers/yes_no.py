"""Speak when the model answers a standing question with yes.

The answer is one token on a fork of the context, of which nothing is saved. The margin of "yes"
over "no" becomes a probability by Platt's calibration, so that a threshold means the same for every
model. With bias 0 and threshold 0.5 this is Dispider's rule (logit > 0) and StreamingBench's yes/no
form.
"""

import math

from onlooker.core.media import Clip
from onlooker.watches.triggers.interface import (
    Decision,
    Rule,
    Score,
    Signals,
    Silent,
    Speak,
)
from onlooker.watches.triggers.sight import SightGate


def probability(margin: float, *, bias: float = 0.0, temperature: float = 1.0) -> float:
    """The calibrated probability of yes, which is the logistic function of (margin - bias) /
    temperature."""
    scaled = max(-60.0, min(60.0, (margin - bias) / temperature))
    return 1.0 / (1.0 + math.exp(-scaled))


class YesNoTrigger(Rule):
    """Speaks when the answer is yes.

    Args:
        threshold: the probability from which the answer is yes.
        hysteresis: a yes holds until the probability falls below `threshold - hysteresis`.
        while_true: whether to speak on every yes, and not only when no turns into yes.
        about_event: whether the question asks what has just happened, between the last clip and
            this one. Then every yes is an event of its own, and none has to come after a no.
        bias, temperature: the model's calibration; see `probability`.
        gate: keeps the last answer over clips that cannot have changed it. Without one, the model
            is asked about every clip.
    """

    def __init__(
        self,
        *,
        threshold: float,
        hysteresis: float = 0.2,
        while_true: bool = False,
        about_event: bool = True,
        bias: float = 0.0,
        temperature: float = 1.0,
        gate: SightGate | None = None,
    ) -> None:
        self._threshold = threshold
        self._release = threshold - hysteresis
        self._while_true = while_true
        self._about_event = about_event
        self._bias, self._temperature = bias, temperature
        self._gate = gate
        self.is_on = False
        """Whether the answer was yes on the last clip that was asked about."""

    def go_on(self, is_on: bool) -> None:
        """Begin as a trigger whose last answer was yes, or no."""
        self.is_on = is_on

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        sight = signals.sight
        if self._gate is not None and sight is not None:
            if not self._gate.is_open(sight, is_on=self.is_on):
                return Silent(why="unneeded")
            margin = await score.margin()
            self._gate.note(sight)
        else:
            margin = await score.margin()
        chance = probability(margin, bias=self._bias, temperature=self._temperature)
        was_on = self.is_on and not self._about_event
        self.is_on = chance >= (self._release if was_on else self._threshold)
        is_new = self.is_on and (self._while_true or not was_on)
        if is_new and chance >= self._threshold:
            return Speak(confidence=chance)
        return Silent(confidence=chance)
