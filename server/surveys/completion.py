"""A chat completion that names several streams: read as a survey, and answered as a completion."""

from collections.abc import AsyncGenerator
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from onlooker.core.errors import InvalidRequest
from onlooker.core.ids import new_id
from onlooker.core.protocol.answer_facts import Usage
from onlooker.core.protocol.completions import (
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
from onlooker.core.protocol.http import STREAM_HEADER
from onlooker.core.protocol.surveys import SurveyDone, SurveyEvent, SurveyReply, SurveyRequest
from onlooker.engine.interface import Question
from onlooker.server.chat import TIERS, chat_lines, refuse
from onlooker.server.gateway import Gateway
from onlooker.server.sse import EventResponse
from onlooker.server.surveys.replying import GONE, run_survey
from onlooker.server.surveys.survey import Survey
from onlooker.server.transcript import read_lines
from onlooker.streams.tenants import TenantStreams


class SurveyChatReply(ChatReply):
    """A completion whose answer is that of several streams."""

    survey: SurveyReply
    """What each of them said, and the moments."""


def read_survey(
    request: ChatRequest, http_request: Request, gateway: Gateway
) -> SurveyRequest | None:
    """The survey that a completion asks for; None where it names one stream or none.

    Raises:
        InvalidRequest: it asks for what several streams together cannot do.
        TooLarge: too many words.
    """
    lines = chat_lines(request)
    names = list(dict.fromkeys(name for line in lines for name in line.streams))
    if len(names) < 2:
        return None
    refuse(request.aside)
    for message in request.messages:
        refuse(message.aside)
    unfit = {
        "tools": bool(request.tools) and request.tool_choice != "none",
        "response_format": getattr(request.response_format, "type", "text") != "text",
        "logprobs": bool(request.logprobs),
        "messages": any(line.images for line in lines),
    }
    for param, is_asked in unfit.items():
        if is_asked:
            what = "pictures in messages" if param == "messages" else f"'{param}'"
            raise InvalidRequest(
                f"a question to several streams takes no {what}: leave them out, or name one "
                "stream",
                param=param,
            )
    if STREAM_HEADER.lower() in http_request.headers:
        raise InvalidRequest(
            f"the messages name several streams: leave the header {STREAM_HEADER} out"
        )
    max_tokens = request.max_completion_tokens or request.max_tokens
    inquiry, _ = read_lines(
        [replace(line, streams=()) for line in lines],
        Question(text=""),
        gateway.settings,
        dialogue_turns=0,
        follow_ups=False,
        param="messages",
    )
    tier = TIERS.get(request.service_tier or "auto")
    return SurveyRequest(
        question=inquiry.question.text,
        streams=names,
        max_output_tokens=max_tokens,
        instructions=inquiry.question.instructions,
        service_tier=None if tier is None else tier.value,
    )


async def complete_survey(
    gateway: Gateway,
    streams: TenantStreams,
    http_request: Request,
    request: ChatRequest,
    wanted: SurveyRequest,
) -> Response:
    """The completion. Raises: what `Survey.begin` does."""
    survey = Survey(gateway, http_request, streams, wanted)
    await survey.begin()
    words = _Words(request, created=int(gateway.clock.wall_s()))
    if request.stream:
        events: AsyncGenerator[SurveyEvent] = survey.events()
        return EventResponse(
            events, words.chunks, clock=gateway.clock, settings=gateway.settings.server
        )
    reply = await run_survey(survey, http_request)
    if reply is None:
        return Response(status_code=GONE)
    return JSONResponse(words.whole(reply).model_dump())


class _Words:
    """One survey in OpenAI's words."""

    def __init__(self, request: ChatRequest, *, created: int) -> None:
        self._request, self._created = request, created
        self._id = new_id("chatcmpl").replace("_", "-")

    def whole(self, survey: SurveyReply) -> SurveyChatReply:
        message = ChatReplyMessage(content=survey.answer)
        return SurveyChatReply(
            id=self._id,
            created=self._created,
            model=self._request.model,
            choices=[ChatChoice(message=message, finish_reason="stop")],
            usage=_usage(survey.usage),
            survey=survey,
        )

    def chunks(self, event: SurveyEvent) -> bytes:
        """All chunks, once the answer is there."""
        if not isinstance(event, SurveyDone):
            return b""
        told = self._chunk(
            ChatChunkChoice(delta=ChatDelta(content=event.survey.answer, role="assistant"))
        )
        told += self._chunk(ChatChunkChoice(delta=ChatDelta(), finish_reason="stop"))
        options = self._request.stream_options
        if options is not None and options.include_usage:
            told += self._chunk(usage=_usage(event.survey.usage))
        return told + b"data: [DONE]\n\n"

    def _chunk(self, *choices: ChatChunkChoice, usage: ChatUsage | None = None) -> bytes:
        chunk = ChatChunk(
            id=self._id,
            created=self._created,
            model=self._request.model,
            choices=list(choices),
            usage=usage,
        )
        return f"data: {chunk.model_dump_json(exclude_none=usage is None)}\n\n".encode()


def _usage(usage: Usage) -> ChatUsage:
    return ChatUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        prompt_tokens_details=PromptTokensDetails(
            cached_tokens=usage.input_token_details.cached_tokens
        ),
    )
