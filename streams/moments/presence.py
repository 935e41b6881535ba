"""`Presence`: when something was so, found by yes/no checks of single clips.

A check costs one token on a few remembered clips, so it can be asked of any time in the past. What
was asked is kept for one question; no more checks are run than it may have.
"""

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from onlooker.core.clock import Clock
from onlooker.core.errors import CapacityError, ClientError, EngineFailed
from onlooker.core.waiting import within
from onlooker.engine.checks import Check
from onlooker.engine.interface import Engine, Question
from onlooker.engine.wording import CheckQuestion, Wording
from onlooker.watches.triggers.yes_no import probability

_log = logging.getLogger("onlooker.streams.moments")

MIN_CHANCE = 1e-4
"""No check is surer than that it is not so, or not not so."""


@dataclass(slots=True, kw_only=True)
class Presence:
    """Of one condition, for one question."""

    engine: Engine
    question: Question
    asked: CheckQuestion
    wording: Wording
    clock: Clock
    until_s: float
    """Clock time at which checks end."""
    max_checks: int
    max_parallel: int
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    _known: dict[float, float | None] = field(default_factory=dict)
    """Probability of yes by stream time; None where a check failed."""
    _margins: dict[float, float | None] = field(default_factory=dict)
    """The same as log-odds beyond the threshold, which are asked for again and again."""

    async def look(self, times_s: Sequence[float]) -> None:
        """Check these stream times, some at once, as far as the budget goes."""
        new = [at_s for at_s in dict.fromkeys(times_s) if at_s not in self._known]
        new = new[: max(0, self.max_checks - len(self._known))]
        for start in range(0, len(new), self.max_parallel):
            left_s = self.until_s - self.clock.now_s()
            if left_s <= 0:
                return
            batch = new[start : start + self.max_parallel]
            try:
                found = await within(
                    self.clock, left_s, asyncio.gather(*(self._check(at_s) for at_s in batch))
                )
            except TimeoutError:
                return
            for at_s, chance in zip(batch, found, strict=True):
                self._known[at_s] = chance
                self._margins[at_s] = None if chance is None else self._margin_of(chance)

    def chance(self, at_s: float) -> float | None:
        """The probability that it was so at a stream time; None where that was not found out."""
        return self._known.get(at_s)

    def is_so(self, at_s: float) -> bool | None:
        """Whether it was so at a stream time; None where that was not found out."""
        chance = self._known.get(at_s)
        return None if chance is None else chance >= self._threshold

    def margin(self, at_s: float) -> float | None:
        """By how much the log-odds that it was so at a stream time exceed the threshold; None where
        that was not found out."""
        return self._margins.get(at_s)

    @property
    def num_left(self) -> int:
        """Checks that may still be run."""
        return max(0, self.max_checks - len(self._known))

    @property
    def _threshold(self) -> float:
        threshold = self.asked.threshold
        return self.wording.threshold if threshold is None else threshold

    def _margin_of(self, chance: float) -> float:
        return _log_odds(chance) - _log_odds(self._threshold)

    async def _check(self, at_s: float) -> float | None:
        wording = self.wording
        check = Check(
            self.question.stream_id,
            self.asked.text,
            asked_s=at_s,
            answers=(wording.yes, wording.no),
            num_clips=wording.num_clips_for(self.asked),
            care=self.question.care,
        )
        try:
            result = await self.engine.check(check)
        except (EngineFailed, ClientError, CapacityError) as error:
            _log.debug("a moment could not be checked", extra={"detail": error.message})
            return None
        self.num_prompt_tokens += result.num_prompt_tokens
        self.num_cached_tokens += result.num_cached_tokens
        yes, no = result.logprobs
        if yes == no == -math.inf:
            return None
        return probability(yes - no, bias=wording.bias, temperature=wording.temperature)


@dataclass(slots=True, kw_only=True)
class Looks:
    """All presences of one question, which share its checks."""

    engine: Engine
    question: Question
    clock: Clock
    until_s: float
    """Clock time at which checks end."""
    max_checks: int
    max_parallel: int
    _made: list[Presence] = field(default_factory=list)

    def for_condition(self, condition: str, *, num_sharing: int = 1) -> Presence:
        """The presence of a condition, one of so many that have equal parts of the checks."""
        return self.for_question(
            self.wording.question_for(condition),
            max_checks=max(1, self.max_checks // num_sharing),
            max_parallel=self.max_parallel,
        )

    def for_question(self, asked: CheckQuestion, *, max_checks: int, max_parallel: int) -> Presence:
        """The presence of what a question asks, with limits of its own."""
        presence = Presence(
            engine=self.engine,
            question=self.question,
            asked=asked,
            wording=self.wording,
            clock=self.clock,
            until_s=self.until_s,
            max_checks=max_checks,
            max_parallel=max_parallel,
        )
        self._made.append(presence)
        return presence

    @property
    def wording(self) -> Wording:
        """How the model wants to be asked."""
        return self.engine.info.wording

    @property
    def num_prompt_tokens(self) -> int:
        """Tokens of the prompts of all checks."""
        return sum(one.num_prompt_tokens for one in self._made)

    @property
    def num_cached_tokens(self) -> int:
        """Those of them whose KV was found, and not computed."""
        return sum(one.num_cached_tokens for one in self._made)


def _log_odds(chance: float) -> float:
    bounded = min(max(chance, MIN_CHANCE), 1.0 - MIN_CHANCE)
    return math.log(bounded / (1.0 - bounded))
