"""Questions to a stream: admission, waiting for what must be seen first, the answer's events."""

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace

from onlooker.core.errors import (
    Conflict,
    EngineFailed,
    EngineRestarting,
    InvalidRequest,
    LimitReached,
    OnlookerError,
    Overloaded,
    ShuttingDown,
)
from onlooker.core.trace import TraceParent
from onlooker.core.waiting import CutShort, CutShortBy, within
from onlooker.engine.interface import (
    AnswerDelta,
    AnswerEnd,
    AnswerEvent,
    Engine,
    FinishReason,
    Question,
)
from onlooker.engine.memory.times import Now, Span, time_asked
from onlooker.engine.supervisor import RETRY_AFTER_S
from onlooker.streams.album.stream_album import StreamAlbum
from onlooker.streams.events import AnswerFinished, AnswerStarted, StreamEvent
from onlooker.streams.forgotten_times import ForgottenTimes
from onlooker.streams.ingest.ingest import Ingest
from onlooker.streams.ingest.mailbox import Reached
from onlooker.streams.moments.moment_finder import MomentFinder
from onlooker.streams.moments.personas import asks_for_nothing
from onlooker.streams.nameplate import NameplateHolder
from onlooker.streams.quality.governor import Governor
from onlooker.streams.quality.stream_quality import StreamQuality
from onlooker.streams.question_slots import QuestionSlots
from onlooker.streams.question_spans import record_question
from onlooker.streams.second_look import SecondLook
from onlooker.streams.shared import Shared
from onlooker.streams.tenancy.account import Account

FORGOTTEN_ANSWER = "I no longer remember that time: it was deleted."
"""What the server itself says to a question about times of which nothing is kept any more."""


@dataclass(slots=True, kw_only=True)
class Asker:
    """Answers one stream's questions. Shares the stream's parts; see `Stream.ask`."""

    shared: Shared
    slots: QuestionSlots
    governor: Governor
    is_live: bool
    zero_wall_s: float | None
    """Wall clock of stream time 0, where the stream was given one."""
    quality: StreamQuality
    ingest: Ingest
    publish: Callable[[StreamEvent], None]
    closed: "asyncio.Future[str]"
    """A future that is done when the stream closes; its result is the reason."""
    moving: Callable[[], ShuttingDown | None]
    """What a question is told whose stream goes on at another server; None while it does not."""
    account: Account
    """What the stream's tenant may have and do."""
    forgotten: ForgottenTimes
    """The times that were deleted of the stream."""
    album: StreamAlbum | None
    """The stream's pictures; None where none are kept."""
    nameplate: NameplateHolder
    """What people call the stream and say of it, which the model is told."""
    second_look: SecondLook
    """What has unsure answers given again with pictures, where that is switched on."""
    moments: MomentFinder | None = None
    """What answers questions about the past as a whole; None where no diary is kept."""
    num_active: int = 0
    _ending: "asyncio.Future[str]" = field(init=False)
    """A future that is done when all answers under way are to end; its result is the reason."""

    def __post_init__(self) -> None:
        self._ending = self._next_ending()
        self.closed.add_done_callback(lambda closed: self._end(closed.result()))

    def break_off(self, reason: str) -> None:
        """End all answers under way, and let new ones begin."""
        ending, self._ending = self._ending, self._next_ending()
        ending.set_result(reason)

    def _end(self, reason: str) -> None:
        if not self._ending.done():
            self._ending.set_result(f"the stream was closed: {reason}")

    def _next_ending(self) -> "asyncio.Future[str]":
        return asyncio.get_running_loop().create_future()

    async def ask(self, question: Question) -> AsyncGenerator[AnswerEvent]:
        """Answer as `Stream.ask` says, with what only the stream knows of a question filled in."""
        measures_ttft = self.is_live and question.at_s is None
        answer = _Answer(
            arrived_at_s=self.shared.clock.now_s(),
            measures_ttft=measures_ttft,
            ending=self._ending,
        )
        tracer = self.shared.tracer
        if tracer is not None:
            answer.place = tracer.begin(question.trace)
        instructions = question.instructions
        is_plain = not instructions or asks_for_nothing(instructions)
        is_degraded = self._admit(question)
        self.num_active += 1
        try:
            with self.slots.taken() as slot:
                end: AnswerEnd | None = None
                await self.account.ask()
                question = await self._prepared(question, answer.ending)
                answer.ready_at_s = self.shared.clock.now_s()
                since_s = answer.arrived_at_s if measures_ttft else self.shared.clock.now_s()
                care = self.quality.question_care(since_s, question.tier, is_degraded=is_degraded)
                question = replace(question, care=care)
                self.publish(AnswerStarted(question.response_id, question.asked_s))
                answer.is_told = True
                if (why := self._why_forgotten(question)) is not None:
                    slot.start()
                    self._note(AnswerDelta(why), answer)
                    yield AnswerDelta(why)
                    answer.finish_reason = FinishReason.STOP
                    answer.end = end = AnswerEnd(FinishReason.STOP, 0, 0, len(why.split()))
                    yield self._completed(end, question, answer)
                    return
                # The engine may have died while the question waited, and been started again: then
                # it does not remember all of the stream yet, and does not know of what is missing.
                while not self.ingest.is_caught_up:
                    with self._until(answer.ending):
                        await self._caught_up()
                with self.shared.engine.at_work() as engine:
                    events = self._events(question, engine, is_plain=is_plain)
                    try:
                        while end is None:
                            event = await self._next(events, answer.ending)
                            if isinstance(event, AnswerEnd):
                                end = event
                            else:
                                slot.start()
                                self._note(event, answer)
                                yield event
                    finally:  # the engine is done with the request before its end is told
                        if isinstance(events, AsyncGenerator):
                            await events.aclose()
                answer.finish_reason, answer.end = end.finish_reason, end
                yield self._completed(end, question, answer)
        except OnlookerError as error:
            answer.finish_reason = FinishReason.ERROR
            answer.is_refused = isinstance(error, LimitReached)
            raise
        finally:
            self.num_active -= 1
            self.shared.metrics.questions.labels(outcome=answer.outcome).inc()
            if answer.is_told:
                self.publish(answer.finished(question))
            if tracer is not None and answer.place is not None:
                record_question(
                    tracer,
                    question,
                    answer.place,
                    arrived_at_s=answer.arrived_at_s,
                    ready_at_s=answer.ready_at_s,
                    first_at_s=answer.first_at_s,
                    finish_reason=answer.finish_reason,
                    end=answer.end,
                    text="".join(answer.pieces),
                )

    def _admit(self, question: Question) -> bool:
        """Check a question; returns whether it is let in with less to look at."""
        at_s = question.at_s
        if at_s is not None and not (math.isfinite(at_s) and at_s >= 0):
            raise InvalidRequest(
                f"at_s must be a stream time in seconds, 0 or more; got {at_s}", param="at_s"
            )
        if not question.text.strip():
            raise InvalidRequest("the question is empty", param="question")
        if len(question.images) > self.shared.engine.info.max_images:
            raise InvalidRequest(
                f"a question may bring {self.shared.engine.info.max_images} pictures along, this "
                f"one brings {len(question.images)}",
                param="images",
            )
        try:
            self.slots.check()
            if self.num_active >= self.shared.settings.max_questions_per_stream:
                raise Overloaded(
                    f"{self.num_active} answers are under way for this stream, which is the limit "
                    "(setting streams.max_questions_per_stream): wait for one to end or cancel it"
                )
            return self.governor.admit_question(
                self.quality,
                question.tier,
                num_ahead=self.slots.num_unstarted,
                has_pictures=bool(question.images),
            )
        except OnlookerError:
            self.shared.metrics.questions.labels(outcome="refused").inc()
            raise

    async def _prepared(self, question: Question, ending: "asyncio.Future[str]") -> Question:
        """Wait for what must be seen first; fill in the question's time and the pending frame.

        Raises:
            ShuttingDown: the stream goes on at another server.
            Conflict: the stream was closed meanwhile, or part of it deleted.
        """
        at_s = question.at_s
        with self._until(ending):
            if at_s is not None and self.is_live:
                await self._wait_for(at_s)
            newest_s = self.ingest.newest_s or 0.0
            reached = self.ingest.reach(math.inf if at_s is None else at_s)
            if not self.ingest.is_caught_up:
                await self._caught_up()
            if self.is_live and at_s is None:
                seen = await self._seen_soon(reached)
            else:
                with self.quality.awaiting():
                    seen = await self._seen(reached)
        wall_s, zero_wall_s = self.shared.clock.wall_s(), self.zero_wall_s
        if zero_wall_s is None and self.is_live:
            zero_wall_s = wall_s - self.ingest.now_s()
        return replace(
            question,
            instructions=self._instructions(question),
            asked_s=max(newest_s, seen.newest_s) if at_s is None else at_s,
            pending=seen.pending,
            covers=seen.covers,
            zero_wall_s=zero_wall_s,
            asked_wall_s=wall_s if at_s is None else None,
        )

    def _instructions(self, question: Question) -> str | None:
        """The system prompt of a question, with what is said of the stream where the model can make
        use of that."""
        shared, said = self.shared, self.nameplate.plate.said
        base = shared.engine.info.nameplate_prompt
        if base is None or not said or not shared.settings.nameplates.in_prompts:
            return question.instructions
        return f"{question.instructions or base} {said}"

    async def _caught_up(self) -> None:
        """Wait a bounded time for an engine that is being started, and for what it is shown again.

        Raises:
            EngineRestarting: it takes longer.
            EngineDead: it is gone.
        """
        await self.shared.engine.wait_ready()
        try:
            await within(
                self.shared.clock, self.shared.engine.wait_limit_s, self.ingest.wait_caught_up()
            )
        except TimeoutError:
            raise EngineRestarting(
                "this stream is being restored: ask again in a moment", retry_after_s=RETRY_AFTER_S
            ) from None

    async def _wait_for(self, at_s: float) -> None:
        """Wait until the time of the live stream has come to `at_s`.

        Raises:
            InvalidRequest: `at_s` is further ahead than a question may wait.
        """
        now_s = self.ingest.now_s()
        ahead_s = at_s - now_s
        limit_s = self.shared.settings.max_ask_wait_s
        if ahead_s > limit_s:
            raise InvalidRequest(
                f"at_s is {ahead_s:.1f} s ahead of the stream, which is at {now_s:.1f} s; a "
                f"question may wait {limit_s:g} s (streams.max_ask_wait_s)",
                param="at_s",
            )
        if ahead_s > 0:
            await self.shared.clock.sleep(ahead_s)

    async def _seen(self, reached: "asyncio.Future[Reached]") -> Reached:
        seen = await reached
        await self.ingest.wait_shown(seen.num_clips)
        return seen

    async def _seen_soon(self, reached: "asyncio.Future[Reached]") -> Reached:
        """For a live question about now: wait a little for what has come in, or do without it."""
        tally = self.ingest.tally
        is_first = tally.seen_until_s is None and tally.received > 0
        limit_s = (
            self.shared.settings.first_clip_wait_s
            if is_first
            else self.shared.settings.fresh_wait_s
        )
        until_s = self.shared.clock.now_s() + limit_s
        seen: Reached | None = None
        with self.quality.awaiting(), contextlib.suppress(TimeoutError):
            seen = await within(self.shared.clock, limit_s, reached)
            remaining_s = until_s - self.shared.clock.now_s()
            await within(self.shared.clock, remaining_s, self.ingest.wait_shown(seen.num_clips))
        if seen is not None:
            return seen
        # A frame that was acknowledged, and waits for its partner, is known all the same.
        ingest = self.ingest
        return Reached(num_clips=0, pending=ingest.pending, newest_s=0.0, covers=ingest.covers)

    @contextlib.contextmanager
    def _until(self, ending: "asyncio.Future[str]") -> Iterator[None]:
        """Cut the block short when answers are to end.

        Raises:
            ShuttingDown: they are, and the stream goes on at another server.
            Conflict: they are; it says why.
        """
        try:
            with CutShortBy(ending):
                yield
        except CutShort:
            if (moving := self.moving()) is not None:
                raise moving from None
            raise Conflict(ending.result()) from None

    def _events(
        self, question: Question, engine: Engine, *, is_plain: bool
    ) -> AsyncIterator[AnswerEvent]:
        """The events of an answer. `is_plain`: whether who asks gave no instructions that only the
        model can follow."""
        if self.moments is None:
            return self._model_says(question, engine)
        now = Now.of(question, self.shared.zone)
        return self.moments.answer(
            question, now, engine, otherwise=self._model_says, is_plain=is_plain
        )

    def _model_says(self, question: Question, engine: Engine) -> AsyncIterator[AnswerEvent]:
        if self.second_look.is_due(question):
            return self.second_look.answer(engine, question)
        return engine.answer(question)

    async def _next(
        self, events: AsyncIterator[AnswerEvent], ending: "asyncio.Future[str]"
    ) -> AnswerEvent:
        """Return the engine's next event, or an `AnswerEnd` of our own when answers are to end."""
        try:
            with CutShortBy(ending):
                return await anext(events)
        except CutShort:
            return AnswerEnd(FinishReason.CANCELLED, 0, 0, 0, reason=ending.result())
        except StopAsyncIteration:
            raise EngineFailed("the engine ended an answer without saying so") from None

    def _asked_spans(self, question: Question) -> tuple[Span, ...]:
        """The times of the past that a question is about, as far as it says so."""
        now = Now.of(question, self.shared.zone)
        about = time_asked(question.text, now)
        if about.spans and not about.speaks_of_now:
            return about.spans
        return () if question.at_s is None else ((question.at_s, question.at_s),)

    def _why_forgotten(self, question: Question) -> str | None:
        """What to say to a question that is only about deleted times; None to any other. The model
        would not know that there was anything, and would answer from another time."""
        spans = self._asked_spans(question)
        if not spans or not all(self.forgotten.cover(*span) for span in spans):
            return None
        return FORGOTTEN_ANSWER

    def _note(self, delta: AnswerDelta, answer: "_Answer") -> None:
        if answer.first_at_s is None:
            answer.first_at_s = self.shared.clock.now_s()
            if answer.measures_ttft:
                self.shared.metrics.ttft_seconds.observe(answer.first_at_s - answer.arrived_at_s)
        if not delta.is_interim:
            answer.pieces.append(delta.text)

    def _completed(self, end: AnswerEnd, question: Question, answer: "_Answer") -> AnswerEnd:
        """The engine's end of an answer, completed with what the stream knows of the answer."""
        ttft_s = None
        if answer.first_at_s is not None:
            ttft_s = answer.first_at_s - answer.arrived_at_s
            if end.num_output_tokens > 1:
                per_token_s = (self.shared.clock.now_s() - answer.first_at_s) / (
                    end.num_output_tokens - 1
                )
                self.shared.metrics.tpot_seconds.observe(per_token_s)
        self.account.note_answer(
            end.num_prompt_tokens, end.num_cached_tokens, end.num_output_tokens
        )
        spans_s = end.clip_spans_s
        since_s = spans_s[0][0] if spans_s else math.inf
        forgotten = [
            part for span in self._asked_spans(question) for part in self.forgotten.within(*span)
        ]
        return replace(
            end,
            forgotten_spans_s=tuple(forgotten),
            knows_wall=self.is_live or self.zero_wall_s is not None,
            pictured_from_s=None if self.album is None else self.album.first_s,
            asked_s=question.asked_s,
            seen_until_s=spans_s[-1][1] if spans_s else None,
            ttft_s=ttft_s,
            memory_incomplete=end.memory_incomplete or self.ingest.lacks_any(since_s),
        )


@dataclass(slots=True, kw_only=True)
class _Answer:
    """An answer under way."""

    arrived_at_s: float
    """Clock time at which the question arrived."""
    measures_ttft: bool
    """Whether the time to its first word is measured: only where nothing is waited for that is yet
    to come."""
    ending: "asyncio.Future[str]"
    """A future that is done when the answer is to end; its result is the reason."""
    ready_at_s: float | None = None
    """When all had been seen that was to be seen before it is answered."""
    first_at_s: float | None = None
    place: TraceParent | None = None
    """Its place in a trace, where there are traces."""
    end: AnswerEnd | None = None
    """The engine's end of it."""
    pieces: list[str] = field(default_factory=list)
    is_told: bool = False
    """Whether viewers were told that it began, and so must be told of its end."""
    finish_reason: FinishReason = FinishReason.CANCELLED
    """How it ended; CANCELLED until that is known, since whoever goes away early has cancelled."""

    is_refused: bool = False
    """Whether the question was not let in after all."""

    @property
    def outcome(self) -> str:
        """The word that metrics use for how it ended."""
        return "refused" if self.is_refused else self.finish_reason.status

    def finished(self, question: Question) -> AnswerFinished:
        return AnswerFinished(
            question.response_id, question.asked_s, self.finish_reason, "".join(self.pieces)
        )
