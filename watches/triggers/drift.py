"""Speak when what was said last no longer fits what is seen, as LiveStar does.

The last answer has a reference perplexity, which was measured with the clip on which it was given.
With each new clip the same answer is scored again, in one forward pass. If its perplexity is above
`alpha` times the reference, the answer has drifted from the video and a new one is due.
"""

from onlooker.core.media import Clip
from onlooker.watches.triggers.interface import Decision, Rule, Score, Signals, Silent, Speak


class DriftTrigger(Rule):
    """Speaks when the last answer has drifted. LiveStar, which is trained for it, takes an `alpha`
    of 1.03 to 1.04; for other models it has to be found out."""

    def __init__(self, *, alpha: float = 1.03) -> None:
        self._alpha = alpha
        self._answer: str | None = None
        self._reference = 0.0
        """The perplexity of the answer with the clip on which it was given."""

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        if self._answer is None:
            return Speak()
        ratio = await score.perplexity(self._answer) / self._reference
        if ratio > self._alpha:
            return Speak(confidence=1 - self._alpha / ratio)
        return Silent(confidence=0.0)

    async def spoke(self, text: str, score: Score) -> None:
        """Measure the reference of a new answer."""
        self._reference = await score.perplexity(text)
        self._answer = text
