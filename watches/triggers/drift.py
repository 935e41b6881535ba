"""Speak when what was said last no longer fits what is seen (LiveStar's streaming verification).

The last answer A has a reference perplexity, measured about the clip on which it was given. For
each new clip A is scored again, teacher-forced, in one forward pass. Above alpha times the
reference the old answer has drifted from the video: a new one is due. Below, silence.
"""

from onlooker.core.media import Clip
from onlooker.watches.triggers.interface import Decision, Rule, Score, Signals, Silent, Speak


class DriftTrigger(Rule):
    """LiveStar's rule. `alpha`: 1.03 to 1.04 for a model trained for it; calibrate for others."""

    def __init__(self, *, alpha: float = 1.03) -> None:
        self._alpha = alpha
        self._answer: str | None = None
        self._tau = 0.0

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        if self._answer is None:
            return Speak()
        ratio = await score.perplexity(self._answer) / self._tau
        if ratio > self._alpha:
            return Speak(confidence=1 - self._alpha / ratio)
        return Silent(confidence=0.0)

    async def spoke(self, text: str, score: Score) -> None:
        """Measure the reference of a new answer, about the clip on which it was given."""
        self._tau = await score.perplexity(text)
        self._answer = text
