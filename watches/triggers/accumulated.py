"""Speak when the evidence of several clips has added up, or stands out from theirs.

These are two of the three policies of MMDuet. There the score comes from heads that were trained
for it; here it is the probability of yes. The third policy is a plain threshold, which is
`YesNoTrigger` with ``while_true``.
"""

import math
from collections import deque

from onlooker.core.media import Clip
from onlooker.watches.triggers.interface import Decision, Rule, Score, Signals, Silent, Speak
from onlooker.watches.triggers.yes_no import probability

OUTLIER_WINDOW = 20
"""How many earlier scores an outlier is compared with, by their mean and standard deviation."""


class SumTrigger(Rule):
    """Adds up the probability of yes clip by clip, speaks when the sum is above `threshold`, and
    begins anew."""

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
    """Speaks when the probability of yes is more than `z` standard deviations above the mean of the
    last `OUTLIER_WINDOW` clips."""

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
