"""One stream's part in a survey: asked here, or by the relay at the server that has the stream."""

from contextlib import aclosing
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request

from onlooker.core.errors import CapacityError, OnlookerError
from onlooker.core.protocol.base import ErrorBody, ErrorReply
from onlooker.core.protocol.http import AnswerReply, QuestionRequest
from onlooker.core.protocol.surveys import SurveyMoment, SurveyPart
from onlooker.server.answers import AnswerWriter, answer_events
from onlooker.server.errors import body_of, hide
from onlooker.server.gateway import Gateway
from onlooker.server.pictures import Inquiry
from onlooker.server.question_wire import answer_reply, asked_question
from onlooker.server.surveys.anywhere import ask_anywhere
from onlooker.server.surveys.called import NoReply
from onlooker.server.surveys.framing import Framed
from onlooker.server.surveys.verdict import says
from onlooker.streams.stream import Stream
from onlooker.streams.tenants import TenantStreams

PATH = "/v1/streams/{stream_id}/questions"

TRIES = 4
"""So often a stream is asked that has no room for the question."""

MAX_NAP_S = 2.0


class PartAsker:
    """Asks one stream after the other on behalf of one caller.

    Args:
        request: the call that the caller made.
        streams: the streams that the caller may see.
    """

    def __init__(
        self,
        gateway: Gateway,
        request: Request,
        streams: TenantStreams,
        *,
        framed: Framed,
        question: QuestionRequest,
    ) -> None:
        self._gateway, self._request, self._streams = gateway, request, streams
        self._framed, self._question = framed, question

    async def ask(self, name: str, shown_name: str) -> SurveyPart:
        """What comes of the question to one stream. Nothing is raised but cancellation."""
        for num_tries in range(1, TRIES + 1):
            try:
                answer = await self._answer(name)
            except CapacityError as error:
                if num_tries == TRIES or error.code == "rate_limit_exceeded":
                    return self._refused(name, shown_name, body_of(error))
                await self._gateway.clock.sleep(min(error.retry_after_s, MAX_NAP_S))
            except OnlookerError as error:
                return self._refused(name, shown_name, body_of(error))
            except Exception as error:
                return self._refused(name, shown_name, body_of(hide(error, where="survey")))
            else:
                if isinstance(answer, AnswerReply):
                    return self._part(answer, shown_name)
                if not answer.retryable or num_tries == TRIES or answer.limit is not None:
                    return self._refused(name, shown_name, answer)
                await self._gateway.clock.sleep(min(answer.retry_after_s or 1.0, MAX_NAP_S))
        raise AssertionError("the last try returns")

    # ---- inside

    async def _answer(self, name: str) -> AnswerReply | ErrorBody:
        """Raises: what finding and asking the stream does."""
        try:
            status, reply = await ask_anywhere(
                self._gateway,
                self._request,
                self._streams,
                name,
                method="POST",
                path=PATH,
                body=self._question.model_dump(mode="json", exclude_unset=True),
                here=self._here,
            )
        except NoReply as error:
            return _no_reply(name, str(error))
        if isinstance(reply, bytes):
            return _read(name, status, reply)
        return AnswerReply.model_validate(reply)

    async def _here(self, stream: Stream) -> dict[str, Any]:
        gateway = self._gateway
        question = asked_question(gateway, stream, self._question)
        writer = AnswerWriter(question, stream=stream.name, clock=gateway.clock)
        events = answer_events(stream, Inquiry(question), writer, gateway.pictures)
        async with aclosing(events):
            async for _ in events:
                pass
        if writer.failure is not None and not writer.text:
            raise writer.failure
        assert writer.done is not None
        return answer_reply(writer.done, stream, self._question.question).model_dump()

    def _part(self, answer: AnswerReply, shown_name: str) -> SurveyPart:
        facts = answer.onlooker
        is_heard = answer.status in ("completed", "incomplete")
        return SurveyPart(
            stream=answer.stream,
            name=answer.name or shown_name,
            status="completed"
            if answer.status == "completed"
            else "incomplete"
            if is_heard
            else "failed",
            asked=self._framed.text,
            answer=answer.answer,
            says=says(answer.answer, self._framed.form),
            confidence=facts.confidence,
            asked_s=facts.asked_s,
            moments=self._moments(answer),
            num_moments=None if facts.moments_exact is None else len(facts.moments),
            moments_exact=facts.moments_exact,
            memory_incomplete=facts.memory_incomplete,
            usage=answer.usage,
            error=answer.error,
        )

    def _moments(self, answer: AnswerReply) -> list[SurveyMoment]:
        """What was seen last, where the question is about now; the times that were found, where it
        asks for times; else the newest of what was brought back for the answer."""
        evidence = answer.onlooker.evidence
        wall_times = {one.at_s: one.wall_time for one in answer.onlooker.moments}
        brought = [one for one in evidence if one.source != "recent" and not self._framed.is_now]
        limit = self._gateway.settings.server.surveys.max_moments
        chosen = (brought or evidence[-1:])[-limit:] if limit else []
        return [
            SurveyMoment(
                stream=answer.stream, wall_time=wall_times.get(one.start_s), **one.model_dump()
            )
            for one in chosen
        ]

    def _refused(self, name: str, shown_name: str, error: ErrorBody) -> SurveyPart:
        is_ours = error.type == "server_error"
        return SurveyPart(
            stream=name,
            name=shown_name,
            status="failed" if is_ours else "refused",
            asked=self._framed.text,
            error=error,
        )


def timed_out(name: str, shown_name: str, framed: Framed, deadline_s: float) -> SurveyPart:
    """The part of a stream that was not done at the deadline."""
    return SurveyPart(
        stream=name,
        name=shown_name,
        status="timed_out",
        asked=framed.text,
        error=ErrorBody(
            type="overloaded_error",
            code="timed_out",
            message=f"there was no answer within {deadline_s:g} s: ask it alone, or with a later "
            "deadline_s",
            retryable=True,
        ),
    )


def _read(name: str, status: int, body: bytes) -> AnswerReply | ErrorBody:
    try:
        if status == 200:
            return AnswerReply.model_validate_json(body)
        return ErrorReply.model_validate_json(body).error
    except ValidationError:
        return _no_reply(name, f"status {status}")


def _no_reply(name: str, why: str) -> ErrorBody:
    return ErrorBody(
        type="server_error",
        code="internal_error",
        message=f"the server that has the stream {name} gave a reply that cannot be read: {why}",
    )
