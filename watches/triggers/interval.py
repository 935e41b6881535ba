"""Speak every so many seconds of stream time."""

from onlooker.core.media import Clip
from onlooker.watches.triggers.interface import Decision, Rule, Score, Signals, Silent, Speak


class IntervalTrigger(Rule):
    """Speaks on the first clip, and then on the first that ends `every_s` later.

    Times are multiples of `every_s` after the first clip, so that late clips do not add up.
    """

    def __init__(self, *, every_s: float) -> None:
        self._every_s = every_s
        self._due_s: float | None = None

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        if self._due_s is None:
            self._due_s = clip.end_s
        if clip.end_s < self._due_s:
            return Silent()
        missed = int((clip.end_s - self._due_s) / self._every_s)
        self._due_s += (missed + 1) * self._every_s
        return Speak()
