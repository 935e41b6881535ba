"""Questions to a stream: admission, waiting for what must be seen first, the answer's events."""

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from onlooker.core.clock import Clock
from onlooker.core.errors import (
    Conflict,
    EngineFailed,
    EngineRestarting,
    InvalidRequest,
    OnlookerError,
    Overloaded,
    ShuttingDown,
)
from onlooker.core.ids import ResponseId
from onlooker.core.metrics import Metrics
from onlooker.core.waiting import within
from onlooker.engine.interface import (
    AnswerDelta,
    AnswerEnd,
    AnswerEvent,
    FinishReason,
    Question,
)
from onlooker.engine.supervisor import RETRY_AFTER_S, EngineSupervisor
from onlooker.scheduler.slo import Tier
from onlooker.streams.config import StreamsSection
from onlooker.streams.events import AnswerFinished, AnswerStarted, StreamEvent
from onlooker.streams.ingest.ingest import Ingest
from onlooker.streams.ingest.mailbox import Reached
from onlooker.streams.quality.governor import Governor
from onlooker.streams.quality.stream_quality import StreamQuality

T = TypeVar("T")

_OUTCOMES = {
    FinishReason.STOP: "completed",
    FinishReason.LENGTH: "incomplete",
    FinishReason.CANCELLED: "cancelled",
    FinishReason.ERROR: "failed",
}


class QuestionSlots:
    """How many answers may be under way, in all; one for the whole hub."""

    def __init__(self, max_questions: int) -> None:
        self.max_questions = max_questions
        self.num_taken = 0
        self.is_closing = False

    def check(self) -> None:
        """Raise when one more may not start.

        Raises:
            Overloaded: all slots are taken.
            ShuttingDown: the server is draining.
        """
        if self.is_closing:
            raise ShuttingDown("the server is shutting down and takes no more questions")
        if self.num_taken >= self.max_questions:
            raise Overloaded(
                f"{self.max_questions} answers are under way on this server, which is its limit "
                "(setting streams.max_questions): ask again in a moment"
            )


@dataclass(slots=True, kw_only=True)
class Asker:
    """Answers one stream's questions. Shares the stream's parts; see `Stream.ask`."""

    engine: EngineSupervisor
    clock: Clock
    metrics: Metrics
    settings: StreamsSection
    slots: QuestionSlots
    ingest: Ingest
    publish: Callable[[StreamEvent], None]
    closed: "asyncio.Future[str]"
    """Done, with the reason, when the stream closes."""
    is_live: bool
    quality: StreamQuality
    governor: Governor
    num_active: int = 0

    async def ask(
        self, question: Question, asked_s: float | None, tier: Tier | None = None
    ) -> AsyncGenerator[AnswerEvent]:
        """See `Stream.ask`. `question.asked_s` and `care` are filled in here."""
        arrived_at_s = self.clock.now_s()
        is_degraded = self._admit(question, asked_s, tier)
        self.num_active += 1
        self.governor.num_unstarted += 1
        self.slots.num_taken += 1
        self.metrics.questions_active.inc()
        record = _Record(
            question.response_id, (self.ingest.newest_s or 0.0) if asked_s is None else asked_s
        )
        started = False
        measures_ttft = self.is_live and asked_s is None
        try:
            question = await self._prepared(question, asked_s)
            since_s = arrived_at_s if measures_ttft else self.clock.now_s()
            care = self.quality.question_care(since_s, tier, is_degraded=is_degraded)
            question = replace(question, care=care)
            record.asked_s = question.asked_s
            self.publish(AnswerStarted(question.response_id, question.asked_s))
            started = True
            async with contextlib.aclosing(self._events(question)) as events:
                async for event in events:
                    now_s = self.clock.now_s()
                    if isinstance(event, AnswerDelta):
                        if record.first_at_s is None:
                            record.first_at_s = now_s
                            self.governor.num_unstarted -= 1
                            if measures_ttft:
                                self.metrics.ttft_seconds.observe(now_s - arrived_at_s)
                        record.pieces.append(event.text)
                    else:
                        event = self._completed(event, record, arrived_at_s, now_s)
                        record.finish_reason = event.finish_reason
                    yield event
        except OnlookerError:
            record.finish_reason = FinishReason.ERROR
            raise
        finally:
            self.num_active -= 1
            self.governor.num_unstarted -= record.first_at_s is None
            self.slots.num_taken -= 1
            self.metrics.questions_active.dec()
            self.metrics.questions.labels(outcome=_OUTCOMES[record.finish_reason]).inc()
            if started:
                self.publish(record.finished())

    def _admit(self, question: Question, asked_s: float | None, tier: Tier | None) -> bool:
        """Check a question; returns whether it is let in with less to look at."""
        if asked_s is not None and not (math.isfinite(asked_s) and asked_s >= 0):
            raise InvalidRequest(
                f"at_s must be a stream time in seconds, 0 or more; got {asked_s}", param="at_s"
            )
        if not question.text.strip():
            raise InvalidRequest("the question is empty", param="question")
        if len(question.images) > self.engine.info.max_images:
            raise InvalidRequest(
                f"a question may bring {self.engine.info.max_images} pictures along, this "
                f"one brings {len(question.images)}",
                param="images",
            )
        try:
            self.slots.check()
            if self.num_active >= self.settings.max_questions_per_stream:
                raise Overloaded(
                    f"{self.num_active} answers are under way for this stream, which is the limit "
                    "(setting streams.max_questions_per_stream): wait for one to end or cancel it"
                )
            return self.governor.admit_question(
                self.quality, tier, has_pictures=bool(question.images)
            )
        except OnlookerError:
            self.metrics.questions.labels(outcome="refused").inc()
            raise

    async def _prepared(self, question: Question, asked_s: float | None) -> Question:
        """Wait for what must be seen first; fill in when it is asked and the pending frame."""
        if asked_s is not None and self.is_live:
            await self._or_closed(self._wait_for(asked_s))
        newest_s = self.ingest.newest_s or 0.0
        reached = self.ingest.reach(math.inf if asked_s is None else asked_s)
        if not self.ingest.is_caught_up:
            await self._or_closed(self._caught_up())
        if self.is_live and asked_s is None:
            seen = await self._or_closed(self._seen_soon(reached))
        else:
            seen = await self._or_closed(self._seen(reached))
        if asked_s is None:
            asked_s = max(newest_s, seen.newest_s)
        zero_wall_s = self.clock.wall_s() - self.ingest.now_s() if self.is_live else None
        return replace(question, asked_s=asked_s, pending=seen.pending, zero_wall_s=zero_wall_s)

    async def _caught_up(self) -> None:
        """Wait a bounded time for an engine that is being started, and for what it is shown again.

        Raises:
            EngineRestarting: it takes longer.
            EngineDead: it is gone.
        """
        await self.engine.wait_ready()
        try:
            await within(self.clock, self.engine.wait_limit_s, self.ingest.wait_caught_up())
        except TimeoutError:
            raise EngineRestarting(
                "this stream is being restored: ask again in a moment", retry_after_s=RETRY_AFTER_S
            ) from None

    async def _wait_for(self, at_s: float) -> None:
        """Live: wait until stream time has come to `at_s`."""
        now_s = self.ingest.now_s()
        ahead_s = at_s - now_s
        if ahead_s > self.settings.max_ask_wait_s:
            raise InvalidRequest(
                f"at_s is {ahead_s:.1f} s ahead of the stream, which is at {now_s:.1f} s; a "
                f"question may wait {self.settings.max_ask_wait_s:g} s (streams.max_ask_wait_s)",
                param="at_s",
            )
        if ahead_s > 0:
            await self.clock.sleep(ahead_s)

    async def _seen(self, reached: "asyncio.Future[Reached]") -> Reached:
        seen = await reached
        await self.ingest.wait_shown(seen.num_clips)
        return seen

    async def _seen_soon(self, reached: "asyncio.Future[Reached]") -> Reached:
        """Live and about now: wait a little for what has come in; do without it if need be."""
        tally = self.ingest.tally
        is_first = tally.seen_until_s is None and tally.received > 0
        limit_s = self.settings.first_clip_wait_s if is_first else self.settings.fresh_wait_s
        until_s = self.clock.now_s() + limit_s
        seen = Reached(num_clips=0, pending=None, newest_s=0.0)
        with self.quality.awaiting(), contextlib.suppress(TimeoutError):
            seen = await within(self.clock, limit_s, reached)
            remaining_s = until_s - self.clock.now_s()
            await within(self.clock, remaining_s, self.ingest.wait_shown(seen.num_clips))
        return seen

    async def _or_closed(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`, unless the stream closes first.

        Raises:
            Conflict: the stream was closed.
        """
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait((task, self.closed), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Conflict(f"the stream was closed: {self.closed.result()}")
            return task.result()
        finally:
            task.cancel()

    async def _events(self, question: Question) -> AsyncGenerator[AnswerEvent]:
        """The engine's events; ends with an `AnswerEnd` of its own when the stream closes.

        The engine is done with the request before its end is told.
        """
        events = self.engine.answer(question)
        following: asyncio.Future[AnswerEvent] | None = None
        end: AnswerEnd | None = None
        try:
            while end is None:
                following = asyncio.ensure_future(anext(events))
                await asyncio.wait((following, self.closed), return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    why = {"reason": f"the stream was closed: {self.closed.result()}"}
                    end = AnswerEnd(FinishReason.CANCELLED, 0, 0, 0, details=dict(why))
                    break
                try:
                    event = following.result()
                except StopAsyncIteration:
                    raise EngineFailed("the engine ended an answer without saying so") from None
                if isinstance(event, AnswerEnd):
                    end = event
                else:
                    yield event
        finally:
            if following is not None and not following.done():
                following.cancel()
                await asyncio.wait((following,))
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()
        yield end

    def _completed(
        self, end: AnswerEnd, record: "_Record", arrived_at_s: float, now_s: float
    ) -> AnswerEnd:
        details = dict(end.details)
        details["asked_s"] = record.asked_s
        details["seen_until_s"] = end.clip_spans_s[-1][1] if end.clip_spans_s else None
        if record.first_at_s is not None:
            details["ttft_s"] = record.first_at_s - arrived_at_s
            if end.num_output_tokens > 1:
                per_token_s = (now_s - record.first_at_s) / (end.num_output_tokens - 1)
                self.metrics.tpot_seconds.observe(per_token_s)
        since_s = end.clip_spans_s[0][0] if end.clip_spans_s else math.inf
        incomplete = end.memory_incomplete or self.ingest.lacks_any(since_s)
        return replace(end, details=details, memory_incomplete=incomplete)


@dataclass(slots=True)
class _Record:
    """What is known of an answer under way, for the event that tells of its end."""

    response_id: ResponseId
    asked_s: float
    finish_reason: FinishReason = FinishReason.CANCELLED
    """Until it is known: whoever goes away early has cancelled."""
    first_at_s: float | None = None
    pieces: list[str] = field(default_factory=list)

    def finished(self) -> AnswerFinished:
        return AnswerFinished(
            self.response_id, self.asked_s, self.finish_reason, "".join(self.pieces)
        )
