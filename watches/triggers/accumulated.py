"""Speak when the evidence of several clips has added up, or stands out from theirs.

These are two of the three policies of MMDuet. There the score comes from heads that were trained
for it (see `HeadsTrigger`); here it is the probability of yes. The third policy is a plain
threshold, which is `YesNoTrigger` with ``while_true``.
"""

import math
from collections import deque

from onlooker.core.media import Clip
from onlooker.watches.triggers.interface import Decision, Rule, Score, Signals, Silent, Speak
from onlooker.watches.triggers.yes_no import probability

OUTLIER_WINDOW = 20
"""How many earlier scores an outlier is compared with, by their mean and standard deviation."""


class RunningSum:
    """Adds up scores clip by clip, and begins anew once the sum was above `threshold`."""

    def __init__(self, threshold: float) -> None:
        self._threshold, self._sum = threshold, 0.0

    def add(self, score: float) -> bool:
        """Add the next clip's; returns whether the sum is above the threshold."""
        self._sum += score
        if self._sum <= self._threshold:
            return False
        self._sum = 0.0
        return True


class OutlierTest:
    """Tells scores that are more than `z` standard deviations above the mean of the last
    `OUTLIER_WINDOW` ones."""

    def __init__(self, z: float) -> None:
        self._z = z
        self._scores: deque[float] = deque(maxlen=OUTLIER_WINDOW)

    def add(self, score: float) -> bool:
        """Add the next clip's; returns whether it stands out from those before. None does before
        there are two."""
        before = list(self._scores)
        self._scores.append(score)
        if len(before) < 2:
            return False
        mean = sum(before) / len(before)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in before) / len(before))
        return score > mean + self._z * deviation


class SumTrigger(Rule):
    """Adds up the probability of yes clip by clip, speaks when the sum is above `threshold`, and
    begins anew."""

    def __init__(self, *, threshold: float, bias: float = 0.0, temperature: float = 1.0) -> None:
        self._sum = RunningSum(threshold)
        self._bias, self._temperature = bias, temperature

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        chance = probability(await score.margin(), bias=self._bias, temperature=self._temperature)
        return Speak(confidence=chance) if self._sum.add(chance) else Silent(confidence=chance)


class OutlierTrigger(Rule):
    """Speaks when the probability of yes is more than `z` standard deviations above the mean of the
    last `OUTLIER_WINDOW` clips."""

    def __init__(self, *, z: float, bias: float = 0.0, temperature: float = 1.0) -> None:
        self._test = OutlierTest(z)
        self._bias, self._temperature = bias, temperature

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        chance = probability(await score.margin(), bias=self._bias, temperature=self._temperature)
        return Speak(confidence=chance) if self._test.add(chance) else Silent(confidence=chance)
