"""`MeasuredEngine`: any engine, with every call noted."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from onlooker.benchmarks.passing import PassingEngine
from onlooker.core.clock import Clock
from onlooker.core.media import Clip
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.interface import (
    AnswerEnd,
    AnswerEvent,
    Engine,
    IngestResult,
    Question,
)


@dataclass(slots=True)
class MeasuredWork:
    """What was asked of the engine since the last `MeasuredEngine.take`."""

    ingest_s: list[float] = field(default_factory=list)
    ingest_tokens: int = 0
    ingest_cached_tokens: int = 0
    ttft_s: list[float] = field(default_factory=list)
    answer_s: list[float] = field(default_factory=list)
    answer_tokens: int = 0
    answer_cached_tokens: int = 0
    output_tokens: int = 0
    check_s: list[float] = field(default_factory=list)
    check_tokens: int = 0
    check_cached_tokens: int = 0
    busy_s: float = 0.0
    """Time during which at least one clip was being ingested."""


class MeasuredEngine(PassingEngine):
    """Passes every call on to `engine` and notes its time and tokens."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        super().__init__(engine)
        self._clock = clock
        self._work = MeasuredWork()
        self._num_ingesting = 0
        self._busy_since_s = 0.0

    def take(self) -> MeasuredWork:
        """What was noted since the last call."""
        work, self._work = self._work, MeasuredWork()
        return work

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        begun_s = self._clock.now_s()
        if not self._num_ingesting:
            self._busy_since_s = begun_s
        self._num_ingesting += 1
        try:
            result = await self._engine.ingest(clip, care)
        finally:
            self._num_ingesting -= 1
            if not self._num_ingesting:
                self._work.busy_s += self._clock.now_s() - self._busy_since_s
        self._work.ingest_s.append(self._clock.now_s() - begun_s)
        self._work.ingest_tokens += result.num_tokens
        self._work.ingest_cached_tokens += result.num_cached_tokens
        return result

    async def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        begun_s = self._clock.now_s()
        first_s: float | None = None
        async for event in self._engine.answer(question):
            if first_s is None:
                first_s = self._clock.now_s()
                self._work.ttft_s.append(first_s - begun_s)
            if isinstance(event, AnswerEnd):
                self._work.answer_s.append(self._clock.now_s() - begun_s)
                self._work.answer_tokens += event.num_prompt_tokens
                self._work.answer_cached_tokens += event.num_cached_tokens
                self._work.output_tokens += event.num_output_tokens
            yield event

    async def check(self, check: Check) -> CheckResult:
        begun_s = self._clock.now_s()
        result = await self._engine.check(check)
        self._work.check_s.append(self._clock.now_s() - begun_s)
        self._work.check_tokens += result.num_prompt_tokens
        self._work.check_cached_tokens += result.num_cached_tokens
        return result
