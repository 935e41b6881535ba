"""`ChainTrigger`: several triggers, cheap ones first, all of which must agree.

A trigger is asked only about clips on which all before it would speak. A check that was lost is
made up for on the next clip, whatever the triggers before it say of that clip.
"""

from collections.abc import Sequence

from onlooker.core.media import Clip
from onlooker.watches.triggers.interface import CheckLost, Decision, Score, Signals, Speak, Trigger


class ChainTrigger:
    """Speaks when all its links do, and says what the last of them says."""

    def __init__(self, links: Sequence[Trigger]) -> None:
        if not links:
            raise ValueError("a chain has at least one trigger")
        self._links = tuple(links)
        self._owed = 0
        """The index of the link whose check was lost. The links before it have spoken already, so
        the next clip begins with this one."""

    @property
    def is_on(self) -> bool:
        """Whether what one of the links looks for was there."""
        return any(link.is_on for link in self._links)

    def go_on(self, is_on: bool) -> None:
        """Tell every link."""
        for link in self._links:
            link.go_on(is_on)

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        decision: Decision = Speak()
        first, self._owed = self._owed, 0
        for link in self._links[:first]:
            link.passed_over(clip)
        for index, link in enumerate(self._links[first:], first):
            try:
                decision = await link.on_clip(clip, signals, score)
            except CheckLost:
                self._owed = index
                self._pass_over(index + 1, clip)
                raise
            if not isinstance(decision, Speak):
                self._pass_over(index + 1, clip)
                break
        return decision

    def passed_over(self, clip: Clip) -> None:
        """Tell every link that it is not asked about `clip`."""
        self._pass_over(0, clip)

    async def spoke(self, text: str, score: Score) -> None:
        """Tell every link what was said about the newest clip."""
        for link in self._links:
            await link.spoke(text, score)

    def _pass_over(self, first: int, clip: Clip) -> None:
        for link in self._links[first:]:
            link.passed_over(clip)
