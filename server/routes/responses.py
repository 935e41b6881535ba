"""OpenAI's responses, about a stream or pictures."""

import json
from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse

from onlooker.core.protocol.answer_events import ResponseDone
from onlooker.core.protocol.openai_responses import (
    ResponseDeleted,
    ResponsesReply,
    ResponsesRequest,
)
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.server.access import EVENT_STREAM, CallerStreams, ReadyGateway, error_docs
from onlooker.server.answers import AnswerWriter, answer_events
from onlooker.server.asked_stream import asked_stream, stream_to_ask
from onlooker.server.gateway import Gateway
from onlooker.server.pictures import Inquiry
from onlooker.server.relay.route import StreamRoute
from onlooker.server.replies import answer_whole, failure_reply
from onlooker.server.response_events import ResponseTeller, Told
from onlooker.server.responses_reader import lines_of, question_of
from onlooker.server.sse import EventResponse
from onlooker.server.stored_responses import StoredResponse
from onlooker.server.transcript import Line, read_lines, worth_keeping
from onlooker.streams.stream import Stream

router = APIRouter(prefix="/v1/responses", tags=["questions"], route_class=StreamRoute)

_EXAMPLES = {
    "stream": {
        "summary": "Ask about a live stream",
        "value": {
            "model": "demo",
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_video", "video_url": "stream://front-door"},
                        {"type": "input_text", "text": "What is happening?"},
                    ],
                }
            ],
        },
    }
}


@router.post(
    "",
    summary="Response",
    response_model=ResponsesReply,
    responses={
        **error_docs(400, 404, 413, 415, 429),
        200: {
            "description": "The answer; with `stream: true` OpenAI's events.",
            "content": EVENT_STREAM,
        },
    },
)
async def create_response(
    gateway: ReadyGateway,
    streams: CallerStreams,
    http_request: Request,
    request: Annotated[ResponsesRequest, Body(openapi_examples=_EXAMPLES)],
) -> Response:
    """Ask a stream or about pictures.

    A stream is named by `stream://ID` as `input_video` or `input_image`, or in the header
    `Onlooker-Stream`; a picture is a data URL as `input_image`. With `previous_response_id` the
    conversation goes on, about the same stream unless another is named. What would mislead is
    refused.
    """
    gateway.check_model(request.model)
    settings, tenant = gateway.settings, streams.tenant
    max_tokens = gateway.output_tokens(request.max_output_tokens, param="max_output_tokens")
    question = question_of(request, gateway.hub.info, settings, max_tokens=max_tokens)
    earlier: tuple[Line, ...] = ()
    if request.previous_response_id is not None:
        before = request.previous_response_id
        earlier = gateway.responses.get(tenant, before, param="previous_response_id").lines
    lines = lines_of(request, earlier)
    turns = gateway.dialogue_turns if request.dialogue_turns is None else request.dialogue_turns
    inquiry, named = read_lines(
        lines,
        question,
        settings,
        dialogue_turns=turns,
        follow_ups=settings.server.reads_follow_ups(request.dialogue_turns),
        param="input",
    )
    name = asked_stream(http_request, named)
    stream = await stream_to_ask(gateway, streams, name)
    writer = AnswerWriter(inquiry.question, stream=name, clock=gateway.clock)
    teller = ResponseTeller(request, writer, gateway.clock, max_tokens=max_tokens)
    if name is not None and named is None:
        lines.append(Line(role="user", streams=(name,)))
    asked = _Asked(gateway, tenant, request, stream, writer, teller, lines, is_own=name is None)
    return await (asked.streamed(inquiry) if request.stream else asked.whole(inquiry, http_request))


@router.get("/{response_id}", summary="Inspect a response", responses=error_docs(404))
async def get_response(
    gateway: ReadyGateway, streams: CallerStreams, response_id: str
) -> ResponsesReply:
    """A response that is kept: in memory, as far as there is room."""
    return gateway.responses.get(streams.tenant, response_id).reply


@router.delete("/{response_id}", summary="Delete a response", responses=error_docs(404))
async def delete_response(
    gateway: ReadyGateway, streams: CallerStreams, response_id: str
) -> ResponseDeleted:
    """Forget a response; no other can go on from it then."""
    gateway.responses.delete(streams.tenant, response_id)
    return ResponseDeleted(id=response_id)


class _Asked:
    """One response under way."""

    def __init__(
        self,
        gateway: Gateway,
        tenant: str,
        request: ResponsesRequest,
        stream: Stream,
        writer: AnswerWriter,
        teller: ResponseTeller,
        lines: list[Line],
        *,
        is_own: bool,
    ) -> None:
        self._gateway, self._tenant, self._request = gateway, tenant, request
        self._stream, self._is_own = stream, is_own
        self._writer, self._teller, self._lines = writer, teller, lines

    async def whole(self, inquiry: Inquiry, http_request: Request) -> Response:
        """The answer as one JSON object."""
        writer = self._writer
        try:
            await answer_whole(http_request, self._stream, inquiry, writer, self._gateway.pictures)
        finally:
            await self._let_go()
        if writer.failure is not None:
            return failure_reply(writer.failure)
        self._keep()
        return JSONResponse(self._teller.reply().model_dump())

    async def streamed(self, inquiry: Inquiry) -> Response:
        """The answer as events. What fails before the first is still an HTTP error."""
        events = answer_events(
            self._stream, inquiry, self._writer, self._gateway.pictures, at_end=self._let_go
        )
        first = await anext(events)
        if self._writer.failure is not None:
            await events.aclose()
            return failure_reply(self._writer.failure)
        begun = iter([self._teller.begin()])

        def encoded(event: ServerEvent) -> bytes:
            told = [*next(begun, []), *self._teller.tell(event)]
            if isinstance(event, ResponseDone):
                self._keep()
            return b"".join(map(_text, told))

        return EventResponse(
            events,
            encoded,
            clock=self._gateway.clock,
            settings=self._gateway.settings.server,
            begun=[first],
        )

    def _keep(self) -> None:
        """Keep the response for others to go on from, unless its client does not want that."""
        writer = self._writer
        is_whole = writer.done is not None and writer.done.status in ("completed", "incomplete")
        if self._request.store is False or not is_whole:
            return
        said = Line(role="assistant", text=writer.text, calls=writer.calls)
        max_turns = max(1, self._gateway.dialogue_turns, self._request.dialogue_turns or 0)
        kept = worth_keeping([*self._lines, said], max_turns=max_turns)
        self._gateway.responses.keep(self._tenant, StoredResponse(self._teller.reply(), kept))

    async def _let_go(self) -> None:
        if self._is_own and self._stream.closed_reason is None:
            await self._gateway.hub.close_stream(self._stream.id, "the question was answered")


def _text(told: Told) -> bytes:
    return f"event: {told['type']}\ndata: {json.dumps(told)}\n\n".encode()
