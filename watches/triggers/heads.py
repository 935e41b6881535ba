"""Speak when heads that the model brings along say so, as MMDuet does.

The score of a clip is the weighted sum of what the heads give (0-1) at the end of the watch's
question. MMDuet's has an ``informative`` and a ``relevance`` head, reads the first or the sum of
both at the last token of each frame, and speaks by one of three policies: above a threshold, when
the sum over clips is above one, or when the score stands out from those before. Dispider's decider
has one head, and speaks above 0.5.
"""

from collections.abc import Mapping

from onlooker.core.media import Clip
from onlooker.watches.triggers.accumulated import OutlierTest, RunningSum
from onlooker.watches.triggers.interface import Decision, Rule, Score, Signals, Silent, Speak


class HeadsTrigger(Rule):
    """Speaks by the score of the model's heads.

    Args:
        weights: by how much each head counts; None: all of them, by 1.
        rule: what the scores are added up or compared by; None: each speaks for itself.
        threshold: what a score has to exceed where each speaks for itself.
        speaks_again: whether to speak about every such clip, and not only when the score gets above
            the threshold.
    """

    def __init__(
        self,
        *,
        weights: Mapping[str, float] | None,
        rule: RunningSum | OutlierTest | None = None,
        threshold: float = 0.5,
        speaks_again: bool = False,
    ) -> None:
        self._weights, self._rule = weights, rule
        self._threshold, self._speaks_again = threshold, speaks_again
        self.is_on = False
        """Whether the last score was above the threshold; False where scores do not speak for
        themselves."""

    def go_on(self, is_on: bool) -> None:
        """Begin as a trigger whose last score was above the threshold, or was not."""
        self.is_on = is_on and self._rule is None

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        told = await score.heads()
        weights = dict.fromkeys(told, 1.0) if self._weights is None else self._weights
        value = sum(weight * told[name] for name, weight in weights.items())
        confidence = min(1.0, max(0.0, value))
        return Speak(confidence=confidence) if self._speaks(value) else Silent(confidence)

    def _speaks(self, value: float) -> bool:
        if self._rule is not None:
            return self._rule.add(value)
        was_on, self.is_on = self.is_on, value > self._threshold
        return self.is_on and (self._speaks_again or not was_on)
