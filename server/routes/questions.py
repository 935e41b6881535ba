"""Ask a stream over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse

from onlooker.core.errors import InvalidRequest, TooLarge
from onlooker.core.protocol.base import ErrorBody, Usage
from onlooker.core.protocol.http import AnswerReply, QuestionRequest
from onlooker.core.protocol.server_events import ResponseObject
from onlooker.engine.interface import Question
from onlooker.scheduler.slo import Tier
from onlooker.server.access import EVENT_STREAM, CallerStreams, ReadyGateway, error_docs
from onlooker.server.answers import AnswerWriter, answer_events
from onlooker.server.pictures import Inquiry
from onlooker.server.relay.route import StreamRoute
from onlooker.server.replies import answer_whole, failure_reply
from onlooker.server.sse import EventResponse, NumberedText
from onlooker.server.stream_times import stream_s
from onlooker.streams.stream import Stream

router = APIRouter(prefix="/v1/streams", tags=["questions"], route_class=StreamRoute)

_EXAMPLES = {
    "now": {"summary": "About now", "value": {"question": "What is happening?"}},
    "then": {
        "summary": "About a moment, streamed",
        "value": {"question": "Who is at the door?", "at_s": 0.5, "stream": True},
    },
}


@router.post(
    "/{stream_id}/questions",
    summary="Ask a stream",
    response_model=AnswerReply,
    responses={
        **error_docs(400, 404, 413, 429),
        200: {
            "description": "The answer; with `stream: true` the WebSocket's `response.*` events.",
            "content": EVENT_STREAM,
        },
    },
)
async def ask_stream(
    gateway: ReadyGateway,
    streams: CallerStreams,
    http_request: Request,
    stream_id: str,
    request: Annotated[QuestionRequest, Body(openapi_examples=_EXAMPLES)],
) -> Response:
    """Ask about what the stream shows, now or at a moment of stream time.

    The answer depends on nothing captured after the moment it is about. Hanging up cancels it.
    """
    stream = streams.get(stream_id)
    max_chars = gateway.settings.server.max_text_chars
    if len(request.question) + len(request.instructions or "") > max_chars:
        raise TooLarge(
            f"question and instructions may have {max_chars} characters", param="question"
        )
    max_tokens = gateway.output_tokens(request.max_output_tokens, param="max_output_tokens")
    question = Question(
        text=request.question,
        max_tokens=max_tokens,
        instructions=request.instructions,
        at_s=_asked_s(stream, request),
        tier=Tier.named(request.service_tier),
    )
    writer = AnswerWriter(question, stream=stream.name, clock=gateway.clock)
    inquiry = Inquiry(question)
    if request.stream:
        return EventResponse(
            answer_events(stream, inquiry, writer, gateway.pictures),
            NumberedText(),
            clock=gateway.clock,
            settings=gateway.settings.server,
            begun=writer.begin(),
        )
    await answer_whole(http_request, stream, inquiry, writer, gateway.pictures)
    assert writer.done is not None
    if writer.failure is not None and not writer.text:
        return failure_reply(writer.failure)
    return JSONResponse(_reply(writer.done, stream, request.question).model_dump())


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


def _reply(done: ResponseObject, stream: Stream, question: str) -> AnswerReply:
    error = done.status_details.error if done.status_details is not None else None
    assert done.status != "in_progress"
    return AnswerReply(
        id=done.id,
        status=done.status,
        stream=stream.name,
        question=question,
        answer=done.text,
        usage=done.usage or Usage(),
        onlooker=done.onlooker,
        error=None
        if error is None
        else ErrorBody(type=error.type, code=error.code, message=error.message),
    )
