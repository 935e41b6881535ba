"""Speak when the model would, which is when its reply does not begin with silence.

This is the rule of VideoLLM-online. The token that means "go on watching" counts only when its
probability reaches a threshold, and then the likeliest token decides. LiveCC ends its pieces of
commentary by the same idea, and its threshold is a ramp: a step is added with every token of the
piece (`onlooker.engine.sampling.PauseRamp`). Here the ramp goes over clips: with every clip about
which the model kept silent, silence has to be surer.
"""

from onlooker.core.media import Clip
from onlooker.watches.triggers.interface import Decision, Rule, Score, Signals, Silent, Speak


class SilenceTrigger(Rule):
    """Speaks when something else is likelier than silence.

    Args:
        threshold: the probability from which silence counts. The paper takes 0.725; a higher one
            makes it speak more often, and above 1 it speaks about every clip.
        step: what is added to the threshold with each clip that it was asked about and kept silent
            about, until it speaks. With a step above 0 no silence lasts for ever; with one below 0
            a silence that has begun is held more readily.
    """

    def __init__(self, *, threshold: float = 0.725, step: float = 0.0) -> None:
        self._threshold, self._step = threshold, step
        self._num_silent = 0
        """Clips in a row about which it kept silent."""

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        found = await score.silence()
        threshold = self._threshold + self._step * self._num_silent
        counts = found.probability if found.probability >= threshold else 0.0
        confidence = 1.0 - found.probability
        if counts > found.best_other:
            self._num_silent += 1
            return Silent(confidence=confidence, why="quiet")
        self._num_silent = 0
        return Speak(confidence=confidence)
