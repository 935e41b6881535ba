"""OpenAI's chat completions, for a stream or for pictures."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse

from onlooker.core.protocol.base import Usage
from onlooker.core.protocol.http import (
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatDelta,
    ChatReply,
    ChatReplyMessage,
    ChatRequest,
    ChatUsage,
    PromptTokensDetails,
)
from onlooker.core.protocol.server_events import ResponseObject, TextDelta
from onlooker.scheduler.slo import Tier
from onlooker.server.access import CallerStreams, ReadyGateway, error_docs
from onlooker.server.answers import AnswerFrame, AnswerWriter
from onlooker.server.asking import Ask, answer_events, answer_whole, failure_reply
from onlooker.server.chat import ChatQuestion, read_chat
from onlooker.server.errors import reply_of
from onlooker.server.gateway import Gateway
from onlooker.server.sse import EventResponse
from onlooker.streams.stream import Stream, StreamOptions
from onlooker.streams.tenants import TenantStreams

_TIERS = {"priority": Tier.INTERACTIVE, "flex": Tier.BACKGROUND}
"""OpenAI's names of service tiers; the others leave the choice to the stream."""

router = APIRouter(prefix="/v1/chat", tags=["questions"])

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
        **error_docs(400, 404, 413, 415),
        200: {
            "description": "The answer; with `stream: true` OpenAI's chunks.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
    },
)
async def complete_chat(
    gateway: ReadyGateway,
    streams: CallerStreams,
    http_request: Request,
    request: Annotated[ChatRequest, Body(openapi_examples=_EXAMPLES)],
) -> Response:
    """Ask a stream (`video_url`, `stream://ID`) or about pictures (`image_url`, a data URL).

    Earlier messages are the dialogue. Fields that cannot be honoured are refused.
    """
    gateway.check_model(request.model)
    question = read_chat(request, gateway.settings)
    max_tokens = gateway.output_tokens(
        request.max_completion_tokens or request.max_tokens, param="max_completion_tokens"
    )
    ask = Ask(
        text=question.text,
        max_tokens=max_tokens,
        images=question.images,
        dialogue=question.dialogue,
        instructions=question.instructions,
        temperature=request.temperature or 0.0,
        seed=request.seed,
        tier=_TIERS.get(request.service_tier or "auto"),
    )
    stream, is_own = await _stream(streams, question)
    writer = AnswerWriter(
        AnswerFrame(stream=None if is_own else stream.name, max_output_tokens=max_tokens),
        clock=gateway.clock,
    )
    chat = _Chat(gateway, request, stream, is_own, ask, writer)
    return await (chat.streamed() if request.stream else chat.whole(http_request))


async def _stream(streams: TenantStreams, question: ChatQuestion) -> tuple[Stream, bool]:
    """The stream that is asked; a fresh one, which goes again, where only pictures are."""
    if question.stream_id is not None:
        return streams.get(question.stream_id), False
    options = StreamOptions(clock="virtual", persistent=False)
    return await streams.open_stream(options=options), True


class _Chat:
    """One completion under way."""

    def __init__(
        self,
        gateway: Gateway,
        request: ChatRequest,
        stream: Stream,
        is_own: bool,
        ask: Ask,
        writer: AnswerWriter,
    ) -> None:
        self._gateway = gateway
        self._request = request
        self._stream = stream
        self._is_own = is_own
        self._ask = ask
        self._writer = writer
        self._id = f"chatcmpl-{writer.response_id.removeprefix('resp_')}"
        self._created = int(gateway.clock.wall_s())

    async def whole(self, http_request: Request) -> Response:
        """The answer as one JSON object."""
        try:
            await answer_whole(
                http_request, self._stream, self._ask, self._writer, self._gateway.pictures
            )
        finally:
            await self._let_go()
        if self._writer.failure is not None:
            return failure_reply(self._writer.failure)
        done = self._writer.done
        assert done is not None
        reply = ChatReply(
            id=self._id,
            created=self._created,
            model=self._request.model,
            choices=[
                ChatChoice(message=ChatReplyMessage(content=done.text), finish_reason=_finish(done))
            ],
            usage=_usage(done.usage),
            onlooker=done.onlooker,
        )
        return JSONResponse(reply.model_dump())

    async def streamed(self) -> Response:
        """The answer as chunks. What fails before the first is still an HTTP error."""
        chunks = self._chunks()
        try:
            first = await anext(chunks)
        except StopAsyncIteration:
            assert self._writer.failure is not None
            return failure_reply(self._writer.failure)
        server = self._gateway.settings.server
        return EventResponse(
            _prefixed(first, chunks),
            keepalive_s=server.sse_keepalive_s,
            send_timeout_s=server.send_timeout_s,
        )

    async def _chunks(self) -> AsyncGenerator[bytes]:
        writer = self._writer
        try:
            events = answer_events(self._stream, self._ask, writer, self._gateway.pictures)
            is_first = True
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, TextDelta):
                        delta = ChatDelta(content=event.delta)
                        if is_first:
                            delta.role = "assistant"
                            is_first = False
                        yield self._chunk(delta)
            if writer.failure is not None:
                if not is_first:
                    yield b"data: " + reply_of(writer.failure)[2] + b"\n\n"
                return
            assert writer.done is not None
            yield self._chunk(ChatDelta(), finish=_finish(writer.done))
            options = self._request.stream_options
            if options is not None and options.include_usage:
                yield self._encoded([], usage=_usage(writer.done.usage))
            yield b"data: [DONE]\n\n"
        finally:
            await self._let_go()

    def _chunk(self, delta: ChatDelta, *, finish: str | None = None) -> bytes:
        choice = ChatChunkChoice.model_validate({"delta": delta, "finish_reason": finish})
        return self._encoded([choice])

    def _encoded(self, choices: list[ChatChunkChoice], *, usage: ChatUsage | None = None) -> bytes:
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


async def _prefixed(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(rest):
        yield first
        async for chunk in rest:
            yield chunk


def _finish(done: ResponseObject) -> Literal["stop", "length"]:
    return "length" if done.status == "incomplete" else "stop"


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
