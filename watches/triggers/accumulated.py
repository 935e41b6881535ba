"""Speak when evidence has added up (MMDuet's other two policies, on the yes/no probability).

MMDuet reads its score from trained heads; any probability will do. Its first policy, a plain
threshold, is `YesNoTrigger` with ``while_true``.
"""

import math
from collections import deque

from onlooker.core.media import Clip
from onlooker.watches.triggers.interface import Decision, Rule, Score, Signals, Silent, Speak
from onlooker.watches.triggers.yes_no import probability

OUTLIER_WINDOW = 20
"""Scores whose mean and deviation an outlier is compared with."""


class SumTrigger(Rule):
    """Adds up the probability of yes, clip by clip; speaks above the threshold and begins anew."""

    def __init__(self, *, threshold: float, bias: float = 0.0, temperature: float = 1.0) -> None:
        self._threshold = threshold
        self._bias, self._temperature = bias, temperature
        self._sum = 0.0

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        chance = probability(await score.margin(), bias=self._bias, temperature=self._temperature)
        self._sum += chance
        if self._sum <= self._threshold:
            return Silent(confidence=chance)
        self._sum = 0.0
        return Speak(confidence=chance)


class OutlierTrigger(Rule):
    """Speaks when the probability of yes is above mean + z standard deviations of the last 20."""

    def __init__(self, *, z: float, bias: float = 0.0, temperature: float = 1.0) -> None:
        self._z = z
        self._bias, self._temperature = bias, temperature
        self._scores: deque[float] = deque(maxlen=OUTLIER_WINDOW)

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        chance = probability(await score.margin(), bias=self._bias, temperature=self._temperature)
        before = list(self._scores)
        self._scores.append(chance)
        if len(before) < 2:
            return Silent(confidence=chance)
        mean = sum(before) / len(before)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in before) / len(before))
        if chance > mean + self._z * deviation:
            return Speak(confidence=chance)
        return Silent(confidence=chance)
