"""`Survey`: one question to several streams, from whom it asks to the one answer."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from onlooker.core.errors import InvalidRequest, TooLarge
from onlooker.core.ids import new_id
from onlooker.core.protocol.http import QuestionRequest
from onlooker.core.protocol.surveys import (
    SurveyDone,
    SurveyEvent,
    SurveyPart,
    SurveyPartDone,
    SurveyReply,
    SurveyRequest,
    SurveyStarted,
)
from onlooker.server.gateway import Gateway
from onlooker.server.surveys.framing import framed
from onlooker.server.surveys.part import PartAsker, timed_out
from onlooker.server.surveys.roll import call_roll
from onlooker.server.surveys.verdict import verdict
from onlooker.server.text_limits import TextLimits
from onlooker.streams.tenants import TenantStreams


@dataclass(frozen=True, slots=True)
class _Asked:
    """A stream that is asked."""

    stream: str
    name: str
    """What people call it, as far as that is known before it has answered."""


class Survey:
    """One survey. Call `begin`, then read `events` to their end, or close them."""

    def __init__(
        self, gateway: Gateway, request: Request, streams: TenantStreams, wanted: SurveyRequest
    ) -> None:
        self._gateway, self._request, self._streams = gateway, request, streams
        self._wanted, self._settings = wanted, gateway.settings.server.surveys
        self._id = new_id("survey")
        self._framed = framed(wanted.question, gateway.hub.info.wording)
        self._asked: list[_Asked] = []
        self._unreached: list[str] = []
        self._until_s = 0.0
        self.reply: SurveyReply | None = None
        """The whole answer, once it is there."""

    async def begin(self) -> SurveyStarted:
        """Find out whom to ask.

        Raises:
            InvalidRequest: the question is empty; a name or label is none; there is no stream with
                the labels.
            TooLarge: too many streams, or words.
        """
        wanted, gateway = self._wanted, self._gateway
        try:
            self._check()
            self._until_s = gateway.clock.now_s() + self._deadline_s
            named = list(dict.fromkeys(wanted.streams or ()))
            self._check_number(len(named))
            self._asked = [_Asked(name, name) for name in named]
            if wanted.labels is not None or wanted.streams is None:
                await self._add_labelled(set(named), wanted.labels or [])
            self._check_number(len(self._asked))
        except BaseException:
            gateway.metrics.surveys.labels("refused").inc()
            raise
        return SurveyStarted(
            survey_id=self._id,
            form=self._framed.form,
            streams=[one.stream for one in self._asked],
            unreached=self._unreached,
        )

    async def events(self) -> AsyncGenerator[SurveyEvent]:
        """Ask all, each part as soon as it is there, and the one answer last. Closing it ends what
        is under way."""
        parts: dict[str, SurveyPart] = {}
        done: asyncio.Queue[SurveyPart] = asyncio.Queue()
        room = asyncio.Semaphore(self._settings.max_parallel)
        tasks = [asyncio.create_task(self._part(one, room, done)) for one in self._asked]
        limit = asyncio.create_task(self._deadline())
        outcome = "cancelled"
        try:
            while len(parts) < len(tasks):
                part = await self._next(done, limit)
                if part is None:
                    break
                parts[part.stream] = part
                yield SurveyPartDone(survey_id=self._id, part=part)
            for task in tasks:
                task.cancel()
            for one in self._asked:
                if one.stream not in parts:
                    late = timed_out(one.stream, one.name, self._framed, self._deadline_s)
                    parts[one.stream] = late
                    yield SurveyPartDone(survey_id=self._id, part=late)
            self.reply = self._verdict([parts[one.stream] for one in self._asked])
            outcome = self.reply.status
            yield SurveyDone(survey=self.reply)
        finally:
            self._gateway.metrics.surveys.labels(outcome).inc()
            for task in (*tasks, limit):
                task.cancel()
            await asyncio.gather(*tasks, limit, return_exceptions=True)

    # ---- inside

    @property
    def _deadline_s(self) -> float:
        return self._wanted.deadline_s or self._settings.deadline_s

    def _check(self) -> None:
        wanted, limit_s = self._wanted, self._settings.max_deadline_s
        if not wanted.question.strip():
            raise InvalidRequest("the question is empty", param="question")
        if self._deadline_s > limit_s:
            raise InvalidRequest(
                f"deadline_s is {limit_s:g} at most (setting server.surveys.max_deadline_s); got "
                f"{self._deadline_s:g}",
                param="deadline_s",
            )
        TextLimits.of(self._gateway.settings.server).check_question(
            self._framed.text, wanted.instructions, param="question"
        )
        self._gateway.output_tokens(wanted.max_output_tokens, param="max_output_tokens")

    def _check_number(self, num_streams: int) -> None:
        limit = self._settings.max_streams
        if num_streams > limit:
            raise TooLarge(
                f"this question is about {num_streams} streams; {limit} can be asked at once "
                "(setting server.surveys.max_streams): name fewer, or narrow them by labels",
                param="streams",
            )

    async def _add_labelled(self, known: set[str], labels: Sequence[str]) -> None:
        limit = self._settings.max_streams + 1
        roll = await call_roll(
            self._gateway, self._request, self._streams.tenant, labels, limit=limit
        )
        self._unreached = roll.unreached
        names = {one.id: one.name for one in roll.streams if one.name}
        self._asked = [_Asked(one.stream, names.get(one.stream, one.stream)) for one in self._asked]
        self._asked += [
            _Asked(one.id, one.name or one.id) for one in roll.streams if one.id not in known
        ]
        if not self._asked and not roll.unreached:
            of_them = f" with the labels {', '.join(labels)}" if labels else ""
            raise InvalidRequest(
                f"no stream{of_them} is open: GET /v1/streams tells which there are",
                param="labels" if labels else "streams",
            )

    async def _part(
        self, one: _Asked, room: asyncio.Semaphore, done: "asyncio.Queue[SurveyPart]"
    ) -> None:
        wanted = self._wanted
        fields = {
            "max_output_tokens": wanted.max_output_tokens,
            "at": wanted.at,
            "instructions": wanted.instructions,
            "service_tier": wanted.service_tier,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        question = QuestionRequest.model_validate(
            {"question": self._framed.text, "confidence": True, **given}
        )
        asker = PartAsker(
            self._gateway, self._request, self._streams, framed=self._framed, question=question
        )
        async with room, self._gateway.rota.turn(self._id):
            part = await asker.ask(one.stream, one.name)
        done.put_nowait(part)

    async def _deadline(self) -> None:
        await self._gateway.clock.sleep(max(0.0, self._until_s - self._gateway.clock.now_s()))

    async def _next(
        self, done: "asyncio.Queue[SurveyPart]", limit: "asyncio.Task[None]"
    ) -> SurveyPart | None:
        """The next part; None once the deadline has come and nothing more is there."""
        if not done.empty():
            return done.get_nowait()
        taking = asyncio.ensure_future(done.get())
        try:
            await asyncio.wait((taking, limit), return_when=asyncio.FIRST_COMPLETED)
            return taking.result() if taking.done() else None
        finally:
            taking.cancel()

    def _verdict(self, parts: Sequence[SurveyPart]) -> SurveyReply:
        for part in parts:
            self._gateway.metrics.survey_parts.labels(part.status).inc()
        return verdict(
            self._id, self._wanted.question, self._framed, parts, unreached=self._unreached
        )
