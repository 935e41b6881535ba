"""`TimeFinder`: finds the clip of which an answer told when it misread the time.

An answer that says "At 3513 seconds" has seen something; where no clip in view bears that time, it
is not known in which. Each of them is shown by itself, with the question and what the answer says
before the time: the one from which that is likeliest to be said is the one. A clip that shows
nothing of what is asked for makes a model say something else ("Never", "There was no ...").
"""

import asyncio
from collections.abc import Sequence

from onlooker.core.errors import OnlookerError
from onlooker.engine.checks import Check
from onlooker.engine.interface import Question
from onlooker.engine.memory.said_times import UnsettledTime
from onlooker.engine.memory.shown import ShownClip
from onlooker.engine.memory.timeline import RememberedClip
from onlooker.engine.vllm_adapter.gateway.checker import Checker

MAX_CLIPS = 64
"""Clips that are looked at for one time: those that were brought back, then the newest."""


class TimeFinder:
    """Looks at the clips of an answer once more, one by one."""

    def __init__(self, checker: Checker) -> None:
        self._checker = checker

    async def find(
        self, question: Question, unsettled: UnsettledTime, clips: Sequence[RememberedClip]
    ) -> float | None:
        """The stamp of the clip that an answer told of; None where that cannot be found out.
        `clips`: those that it saw."""
        opening = unsettled.opening.rstrip()
        if not opening or question.dialogue or question.images:
            return None
        check = Check(
            question.stream_id,
            question.text,
            question.asked_s,
            given=opening,
            instructions=question.instructions,
            care=question.care,
        )
        chosen = clips[:MAX_CLIPS]
        try:
            async with asyncio.TaskGroup() as group:
                looks = [group.create_task(self._look(check, clip)) for clip in chosen]
        except* OnlookerError:  # of what the answer itself suffers from it tells by itself
            looks = []
        found = [look.result() for look in looks]
        if not found or found.count(min(found)) > 1:
            return None
        best = chosen[found.index(min(found))]
        return ShownClip.remembered(best, question.asked_s).stamp_s

    async def _look(self, check: Check, clip: RememberedClip) -> float:
        """How unlikely the words are from this clip alone: their perplexity."""
        result = await self._checker.check(check, [clip])
        assert result.perplexity is not None
        return result.perplexity
