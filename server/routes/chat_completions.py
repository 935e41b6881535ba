"""OpenAI's chat completions, for a stream or for pictures."""

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse

from onlooker.core.protocol.answer_events import ResponseDone, ResponseObject, TextDelta
from onlooker.core.protocol.answer_facts import TokenLogprob, Usage
from onlooker.core.protocol.completions import (
    CalledFunctionReply,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatDelta,
    ChatFinish,
    ChatLogprobs,
    ChatReply,
    ChatReplyMessage,
    ChatRequest,
    ChatToolCallDelta,
    ChatToolCallReply,
    ChatUsage,
    PromptTokensDetails,
)
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.server.access import EVENT_STREAM, CallerStreams, ReadyGateway, error_docs
from onlooker.server.answers import AnswerWriter, answer_events
from onlooker.server.asked_stream import asked_stream, stream_to_ask
from onlooker.server.chat import read_chat
from onlooker.server.errors import reply_of
from onlooker.server.gateway import Gateway
from onlooker.server.pictures import Inquiry
from onlooker.server.relay.route import StreamRoute
from onlooker.server.replies import answer_whole, failure_reply
from onlooker.server.sse import EventResponse
from onlooker.server.surveys.completion import complete_survey, read_survey
from onlooker.streams.stream import Stream

router = APIRouter(prefix="/v1/chat", tags=["questions"], route_class=StreamRoute)

_EXAMPLES = {
    "stream": {
        "summary": "Ask about a live stream",
        "value": {
            "model": "demo",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "video_url", "video_url": {"url": "stream://front-door"}},
                        {"type": "text", "text": "What is happening?"},
                    ],
                }
            ],
        },
    }
}


@router.post(
    "/completions",
    summary="Chat completion",
    response_model=ChatReply,
    responses={
        **error_docs(400, 404, 413, 415, 429),
        200: {
            "description": "The answer; with `stream: true` OpenAI's chunks.",
            "content": EVENT_STREAM,
        },
    },
)
async def complete_chat(
    gateway: ReadyGateway,
    streams: CallerStreams,
    http_request: Request,
    request: Annotated[ChatRequest, Body(openapi_examples=_EXAMPLES)],
) -> Response:
    """Ask a stream or about pictures.

    A stream is named by `stream://ID` as `video_url` or `image_url`, or in the header
    `Onlooker-Stream`; several are asked side by side, as by `POST /v1/questions`,
    and have no dialogue; a picture is a data URL as `image_url`. Earlier messages are the dialogue.
    What would mislead is refused.
    """
    gateway.check_model(request.model)
    max_tokens = gateway.output_tokens(
        request.max_completion_tokens or request.max_tokens, param="max_completion_tokens"
    )
    survey = read_survey(request, http_request, gateway)
    if survey is not None:
        return await complete_survey(gateway, streams, http_request, request, survey)
    inquiry, named = read_chat(
        request,
        gateway.hub.info,
        gateway.settings,
        max_tokens=max_tokens,
        dialogue_turns=gateway.dialogue_turns,
    )
    name = asked_stream(http_request, named)
    stream = await stream_to_ask(gateway, streams, name)
    writer = AnswerWriter(inquiry.question, stream=name, clock=gateway.clock)
    chat = _Chat(gateway, request, stream, writer, is_own=name is None)
    return await (chat.streamed(inquiry) if request.stream else chat.whole(inquiry, http_request))


class _Chat:
    """One completion under way."""

    def __init__(
        self,
        gateway: Gateway,
        request: ChatRequest,
        stream: Stream,
        writer: AnswerWriter,
        *,
        is_own: bool,
    ) -> None:
        self._gateway, self._request = gateway, request
        self._stream, self._is_own = stream, is_own
        self._writer = writer
        self._id = f"chatcmpl-{writer.response_id.removeprefix('resp_')}"
        self._created = int(gateway.clock.wall_s())
        self._has_role = False

    async def whole(self, inquiry: Inquiry, http_request: Request) -> Response:
        """The answer as one JSON object."""
        writer = self._writer
        try:
            await answer_whole(http_request, self._stream, inquiry, writer, self._gateway.pictures)
        finally:
            await self._let_go()
        if writer.failure is not None:
            return failure_reply(writer.failure)
        done = writer.done
        assert done is not None
        reply = ChatReply(
            id=self._id,
            created=self._created,
            model=self._request.model,
            choices=[
                ChatChoice(
                    message=ChatReplyMessage(
                        content=done.text if done.text or not writer.calls else None,
                        tool_calls=self._calls() or None,
                    ),
                    finish_reason=self._finish(done),
                    logprobs=self._logprobs(writer.logprobs),
                )
            ],
            usage=_usage(done.usage),
            onlooker=done.onlooker,
        )
        return JSONResponse(reply.model_dump())

    async def streamed(self, inquiry: Inquiry) -> Response:
        """The answer as chunks. What fails before the first is still an HTTP error."""
        events = answer_events(
            self._stream, inquiry, self._writer, self._gateway.pictures, at_end=self._let_go
        )
        first = await anext(events)
        if self._writer.failure is not None:
            await events.aclose()
            return failure_reply(self._writer.failure)
        return EventResponse(
            events,
            self._encoded,
            clock=self._gateway.clock,
            settings=self._gateway.settings.server,
            begun=[first],
        )

    def _encoded(self, event: ServerEvent) -> bytes:
        """The chunks that tell of an event; nothing for those that OpenAI has no chunk for."""
        if isinstance(event, TextDelta):
            # A chat has no final text: what is said meanwhile would be kept as a part of it.
            text = "" if event.interim else event.delta
            delta = ChatDelta(content=text, role=None if self._has_role else "assistant")
            self._has_role = True
            return self._chunk(delta, logprobs=self._logprobs(event.logprobs or []))
        if not isinstance(event, ResponseDone):
            return b""
        if self._writer.failure is not None:
            return b"data: " + reply_of(self._writer.failure)[2] + b"\n\n"
        last = self._called()
        last += self._chunk(ChatDelta(), finish=self._finish(event.response))
        options = self._request.stream_options
        if options is not None and options.include_usage:
            last += self._data([], usage=_usage(event.response.usage))
        return last + b"data: [DONE]\n\n"

    def _called(self) -> bytes:
        """The chunk that tells which functions are called; nothing where none are."""
        calls = [
            ChatToolCallDelta(index=index, id=call.id, function=call.function)
            for index, call in enumerate(self._calls())
        ]
        if not calls:
            return b""
        delta = ChatDelta(role=None if self._has_role else "assistant", tool_calls=calls)
        return self._chunk(delta)

    def _calls(self) -> list[ChatToolCallReply]:
        return [
            ChatToolCallReply(
                id=call.id,
                function=CalledFunctionReply(name=call.name, arguments=call.arguments),
            )
            for call in self._writer.calls
        ]

    def _logprobs(self, tokens: list[TokenLogprob]) -> ChatLogprobs | None:
        return ChatLogprobs(content=tokens) if self._request.logprobs else None

    def _finish(self, done: ResponseObject) -> ChatFinish:
        if self._writer.calls:
            return "tool_calls"
        return "length" if done.status == "incomplete" else "stop"

    def _chunk(
        self,
        delta: ChatDelta,
        *,
        finish: ChatFinish | None = None,
        logprobs: ChatLogprobs | None = None,
    ) -> bytes:
        return self._data([ChatChunkChoice(delta=delta, finish_reason=finish, logprobs=logprobs)])

    def _data(self, choices: list[ChatChunkChoice], *, usage: ChatUsage | None = None) -> bytes:
        chunk = ChatChunk(
            id=self._id,
            created=self._created,
            model=self._request.model,
            choices=choices,
            usage=usage,
        )
        return f"data: {chunk.model_dump_json(exclude_none=usage is None)}\n\n".encode()

    async def _let_go(self) -> None:
        if self._is_own and self._stream.closed_reason is None:
            await self._gateway.hub.close_stream(self._stream.id, "the question was answered")


def _usage(usage: Usage | None) -> ChatUsage:
    usage = usage or Usage()
    return ChatUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        prompt_tokens_details=PromptTokensDetails(
            cached_tokens=usage.input_token_details.cached_tokens
        ),
    )
