"""Answer a question when its evidence is there, which may be later than the question.

The idea is AViLA's. The question is asked again as the video goes on. While the reply says that it
cannot be told yet, the answer is deferred; the first other reply is the answer.
"""

import re
from collections.abc import Sequence

from onlooker.core.media import Clip
from onlooker.watches.triggers.interface import Decision, Defer, Rule, Score, Signals, Speak


class EvidenceTrigger(Rule):
    """Speaks with the first reply that matches none of the regular expressions `not_yet`."""

    def __init__(self, *, not_yet: Sequence[str]) -> None:
        self._not_yet = re.compile("|".join(f"(?:{p})" for p in not_yet) or r"(?!)", re.IGNORECASE)

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        text = (await score.reply()).strip()
        if not text or self._not_yet.search(text):
            return Defer("it cannot be told yet")
        return Speak(text=text)
