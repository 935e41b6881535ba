"""Speak when the model would, which is when its reply does not begin with silence.

This is the rule of VideoLLM-online. The token that means "go on watching" counts only when its
probability reaches a threshold, and then the likeliest token decides. LiveCC ends its pieces of
commentary by the same idea, with a threshold that rises within the reply.
"""

from onlooker.core.media import Clip
from onlooker.watches.triggers.interface import Decision, Rule, Score, Signals, Silent, Speak


class SilenceTrigger(Rule):
    """Speaks when something else is likelier than silence. The paper takes a `threshold` of 0.725;
    a higher one makes it speak more often."""

    def __init__(self, *, threshold: float = 0.725) -> None:
        self._threshold = threshold

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        found = await score.silence()
        counts = found.probability if found.probability >= self._threshold else 0.0
        confidence = 1.0 - found.probability
        if counts > found.best_other:
            return Silent(confidence=confidence, why="quiet")
        return Speak(confidence=confidence)
