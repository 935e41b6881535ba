"""Ask a stream over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse

from onlooker.core.protocol.http import AnswerReply, QuestionRequest
from onlooker.server.access import EVENT_STREAM, CallerStreams, ReadyGateway, error_docs
from onlooker.server.answers import AnswerWriter, answer_events
from onlooker.server.pictures import Inquiry
from onlooker.server.question_wire import answer_reply, asked_question
from onlooker.server.relay.route import StreamRoute
from onlooker.server.replies import answer_whole, failure_reply
from onlooker.server.sse import EventResponse, NumberedText

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
    question = asked_question(gateway, stream, request)
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
    return JSONResponse(answer_reply(writer.done, stream, request.question).model_dump())
