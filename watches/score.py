"""What triggers ask of the model about one clip: checks that are shared, bounded and made up."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from onlooker.core.clock import Clock
from onlooker.core.errors import CapacityError, ClientError, ServiceError
from onlooker.core.ids import ResponseId, StreamId, new_id
from onlooker.core.media import Clip
from onlooker.core.metrics import Metrics
from onlooker.core.waiting import within
from onlooker.engine.care import Care
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.interface import AnswerDelta, Engine, Question
from onlooker.engine.wording import Wording
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.ticket import Ticket
from onlooker.watches.config import WatchesSection
from onlooker.watches.making import Prompts
from onlooker.watches.triggers.interface import CheckLost, Signals, Silence


class CheckRunner:
    """Runs the checks of all streams, so many at a time; one for the whole hub."""

    def __init__(
        self, engine: Engine, clock: Clock, settings: WatchesSection, metrics: Metrics
    ) -> None:
        self._engine, self._clock, self._metrics = engine, clock, metrics
        self.settings = settings
        self._checks = asyncio.Semaphore(settings.max_checks)
        self._replies = asyncio.Semaphore(settings.max_replies)

    @property
    def wording(self) -> Wording:
        """Of the served model."""
        return self._engine.info.wording

    async def check(self, check: Check, *, is_live: bool) -> CheckResult:
        """Run a check as soon as there is room.

        Raises:
            CheckLost: live, there was none for too long; or the engine failed on it (whether the
                stream goes on is for its ingest to find out).
        """
        await self._room(is_live)
        begun_s = self._clock.now_s()
        try:
            result = await self._engine.check(check)
        except (ServiceError, ClientError, CapacityError) as error:
            self._metrics.checks.labels(outcome="failed").inc()
            raise CheckLost(error.message) from error
        finally:
            self._checks.release()
        self._metrics.checks.labels(outcome="done").inc()
        self._metrics.check_seconds.observe(self._clock.now_s() - begun_s)
        return result

    async def reply(self, question: Question) -> str:
        """Run a question to its end and return the answer's text. Raises what the engine does."""
        async with self._replies:
            pieces: list[str] = []
            async for event in self._engine.answer(question):
                if isinstance(event, AnswerDelta):
                    pieces.append(event.text)
            return "".join(pieces)

    def care(self, stream_id: StreamId, request_class: RequestClass) -> Care:
        """What the scheduler is told of a watch's request."""
        now_s = self._clock.now_s()
        due_s = now_s + self.settings.check_target_s
        return Care(Ticket(request_class, now_s, due_s, stream=stream_id))

    async def _room(self, is_live: bool) -> None:
        if not self._checks.locked():
            await self._checks.acquire()
            return
        self._metrics.checks.labels(outcome="skipped").inc()
        try:
            if is_live:
                limit_s = self.settings.max_check_wait_s
                await within(self._clock, limit_s, self._checks.acquire())
            else:
                await self._checks.acquire()
        except TimeoutError as error:
            self._metrics.checks.labels(outcome="lost").inc()
            raise CheckLost("there was no room for this check") from error
        self._metrics.checks.labels(outcome="made_up").inc()


@dataclass(slots=True)
class SharedClip:
    """One clip for all watches of its stream: who asks the same shares the result."""

    clip: Clip
    signals: Signals
    running: "set[asyncio.Task[CheckResult]]"
    """What is being asked; the stream's, so that it can be broken off."""
    asked: "dict[object, asyncio.Task[CheckResult]]" = field(default_factory=dict)

    async def once(
        self, key: object, ask: Callable[[], Coroutine[Any, Any, CheckResult]]
    ) -> CheckResult:
        """What `ask` gives, asked once for each `key`."""
        if key not in self.asked:
            task = self.asked[key] = asyncio.create_task(ask())
            self.running.add(task)
            task.add_done_callback(self.running.discard)
        # Shielded: who goes away must not take the result from the others.
        return await asyncio.shield(self.asked[key])


@dataclass(frozen=True, slots=True)
class ForkScore:
    """`onlooker.watches.triggers.interface.Score` of one watch about one clip."""

    runner: CheckRunner
    shared: SharedClip
    prompts: Prompts
    is_live: bool
    max_tokens: int

    async def margin(self) -> float:
        wording = self.runner.wording
        question = self.prompts.check
        found = await self._check(
            question.text,
            answers=(wording.yes, wording.no),
            num_clips=wording.num_clips_for(question),
        )
        return found.logprobs[0] - found.logprobs[1]

    async def perplexity(self, text: str) -> float:
        found = await self._check(self._reply_prompt, given=text)
        assert found.perplexity is not None
        return found.perplexity

    async def silence(self) -> Silence:
        found = await self._check(self.prompts.silence, answers=(self.runner.wording.silence,))
        chance = _probability(found.logprobs[0])
        other = 0.0 if found.best_answer == 0 else _probability(found.best)
        return Silence(chance, other)

    async def reply(self) -> str:
        clip = self.shared.clip
        question = Question(
            text=self._reply_prompt,
            response_id=ResponseId(new_id("alert")),
            stream_id=clip.stream_id,
            asked_s=clip.end_s,
            max_tokens=self.max_tokens,
            care=self.runner.care(clip.stream_id, RequestClass.QUESTION),
        )
        try:
            return await self.runner.reply(question)
        except (ServiceError, ClientError, CapacityError) as error:
            raise CheckLost(error.message) from error

    def asking(self, prompt: str) -> "ForkScore":
        """The same with another prompt for its reply."""
        return replace(self, prompts=replace(self.prompts, reply=prompt))

    @property
    def _reply_prompt(self) -> str:
        return self.prompts.reply or self.prompts.check.text

    async def _check(
        self,
        text: str,
        *,
        answers: tuple[tuple[str, ...], ...] = (),
        given: str | None = None,
        num_clips: int | None = None,
    ) -> CheckResult:
        clip = self.shared.clip
        check = Check(
            clip.stream_id,
            text,
            asked_s=clip.end_s,
            answers=answers,
            given=given,
            num_clips=num_clips or self.runner.wording.num_clips,
            care=self.runner.care(clip.stream_id, RequestClass.CHECK),
        )
        return await self.shared.once(
            (text, answers, given, num_clips),
            lambda: self.runner.check(check, is_live=self.is_live),
        )


def _probability(logprob: float) -> float:
    return math.exp(logprob)
