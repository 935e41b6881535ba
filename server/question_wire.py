"""A question and its answer in the words of HTTP, whichever call they come by."""

from onlooker.core.errors import InvalidRequest
from onlooker.core.protocol.answer_events import ResponseObject
from onlooker.core.protocol.answer_facts import Usage
from onlooker.core.protocol.base import ErrorBody
from onlooker.core.protocol.http import AnswerReply, QuestionRequest
from onlooker.engine.interface import Question
from onlooker.engine.sampling import GREEDY, Sampling
from onlooker.scheduler.slo import Tier
from onlooker.server.gateway import Gateway
from onlooker.server.stream_times import stream_s
from onlooker.server.text_limits import TextLimits
from onlooker.streams.stream import Stream

_WITH_CHANCES = Sampling(num_alternatives=0)


def asked_question(gateway: Gateway, stream: Stream, request: QuestionRequest) -> Question:
    """The question that a call puts to a stream.

    Raises:
        InvalidRequest, TooLarge: its time is none; it, or the answer that is asked for, is too
            long.
    """
    TextLimits.of(gateway.settings.server).check_question(
        request.question, request.instructions, param="question"
    )
    return Question(
        text=request.question,
        max_tokens=gateway.output_tokens(request.max_output_tokens, param="max_output_tokens"),
        instructions=request.instructions,
        budget_s=request.budget_s,
        from_diary=request.from_diary,
        at_s=_asked_s(stream, request),
        tier=Tier.named(request.service_tier),
        sampling=_WITH_CHANCES if request.confidence else GREEDY,
        tells_confidence=request.confidence,
    )


def _asked_s(stream: Stream, request: QuestionRequest) -> float | None:
    """The stream time that a question is about; None: now."""
    if request.at is None:
        return request.at_s
    if request.at_s is not None:
        raise InvalidRequest("give 'at' or 'at_s', not both", param="at")
    asked_s = stream_s(stream, request.at, "at")
    assert asked_s is not None
    if asked_s < 0:
        raise InvalidRequest(f"stream '{stream.name}' began after {request.at}", param="at")
    return asked_s


def answer_reply(done: ResponseObject, stream: Stream, question: str) -> AnswerReply:
    """An answer that has ended, as HTTP tells it."""
    error = done.status_details.error if done.status_details is not None else None
    assert done.status != "in_progress"
    return AnswerReply(
        id=done.id,
        status=done.status,
        stream=stream.name,
        name=stream.nameplate.plate.name,
        question=question,
        answer=done.text,
        usage=done.usage or Usage(),
        onlooker=done.onlooker,
        error=None
        if error is None
        else ErrorBody(type=error.type, code=error.code, message=error.message),
    )
