"""Speak when the model would: its reply does not begin with silence.

VideoLLM-online's rule. After each frame the token that means "go on watching" counts only when its
probability reaches the threshold; the likeliest token that is left decides. LiveCC ends its pieces
of commentary by the same idea, with a threshold that rises within the reply.
"""

from onlooker.core.media import Clip
from onlooker.watches.triggers.interface import Decision, Rule, Score, Signals, Silent, Speak


class SilenceTrigger(Rule):
    """`threshold`: 0.725 in the paper; higher speaks more often."""

    def __init__(self, *, threshold: float = 0.725) -> None:
        self._threshold = threshold

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        found = await score.silence()
        counts = found.probability if found.probability >= self._threshold else 0.0
        confidence = 1.0 - found.probability
        if counts > found.best_other:
            return Silent(confidence=confidence, why="quiet")
        return Speak(confidence=confidence)
