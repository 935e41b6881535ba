"""Reads a chat completion as one question: which stream, what was said before, how to answer."""

from onlooker.core.errors import InvalidRequest
from onlooker.core.protocol.completions import (
    ChatImagePart,
    ChatJsonSchemaFormat,
    ChatMessage,
    ChatRequest,
    ChatToolNamed,
    ChatVideoPart,
    JsonObjectFormat,
)
from onlooker.core.protocol.foreign_fields import SetAside
from onlooker.engine.functions import FunctionCall
from onlooker.engine.interface import EngineInfo, Question
from onlooker.engine.sampling import Sampling
from onlooker.scheduler.slo import Tier
from onlooker.server.abilities import ANY_OBJECT, schema_for, toolbox
from onlooker.server.config import Settings
from onlooker.server.pictures import Inquiry
from onlooker.server.transcript import Line, read_lines, split_url, stream_named

TIERS = {"priority": Tier.INTERACTIVE, "flex": Tier.BACKGROUND}
"""OpenAI's names of service tiers; the others leave the choice to the stream."""


def read_chat(
    request: ChatRequest,
    info: EngineInfo,
    settings: Settings,
    *,
    max_tokens: int,
    dialogue_turns: int,
) -> tuple[Inquiry, str | None]:
    """Read a request; return the question, and the name of the stream that is asked (None where
    only pictures are). `dialogue_turns`: how many earlier turns it brings along where the request
    does not say.

    Raises:
        InvalidRequest: no question, two streams, an address of another kind, or something that the
            model cannot do.
        TooLarge: too many words or pictures.
    """
    refuse(request.aside)
    for message in request.messages:
        refuse(message.aside)
    choice = request.tool_choice or "auto"
    tools = toolbox(
        [tool.function for tool in request.tools or ()],
        f"={choice.function.name}" if isinstance(choice, ChatToolNamed) else choice,
        parallel=request.parallel_tool_calls,
        info=info,
        settings=settings,
    )
    schema = None
    wanted = request.response_format
    if isinstance(wanted, JsonObjectFormat):
        schema = schema_for(ANY_OBJECT, info, settings, param="response_format")
    elif isinstance(wanted, ChatJsonSchemaFormat):
        schema = schema_for(
            wanted.json_schema.schema_,
            info,
            settings,
            param="response_format.json_schema.schema",
        )
    if schema is not None and tools:
        raise InvalidRequest(
            "an answer that is held to JSON cannot call functions: leave 'tools' or "
            "'response_format' out, or say tool_choice 'none'",
            param="response_format",
        )
    question = Question(
        text="",
        max_tokens=max_tokens,
        sampling=_sampling(request),
        json_schema=schema,
        tools=tools,
        tier=TIERS.get(request.service_tier or "auto"),
    )
    lines = chat_lines(request)
    kept = dialogue_turns if request.dialogue_turns is None else request.dialogue_turns
    return read_lines(
        lines,
        question,
        settings,
        dialogue_turns=kept,
        follow_ups=settings.server.reads_follow_ups(request.dialogue_turns),
        param="messages",
    )


def chat_lines(request: ChatRequest) -> list[Line]:
    """The messages of a request. Raises `InvalidRequest` for an address of another kind."""
    return [_line(message, index) for index, message in enumerate(request.messages)]


def refuse(aside: SetAside) -> None:
    """Raise `InvalidRequest` for what of a request would mislead."""
    if aside.refused:
        name, why = next(iter(aside.refused.items()))
        raise InvalidRequest(f"'{name}' {why}", param=name)


def _sampling(request: ChatRequest) -> Sampling:
    stop = request.stop or ()
    if request.top_logprobs and not request.logprobs:
        raise InvalidRequest("top_logprobs takes logprobs: true", param="top_logprobs")
    return Sampling(
        temperature=request.temperature or 0.0,
        top_p=1.0 if request.top_p is None else request.top_p,
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        seed=request.seed,
        stop=tuple(text for text in ((stop,) if isinstance(stop, str) else stop) if text),
        ignores_end=bool(request.ignore_eos),
        num_alternatives=(request.top_logprobs or 0) if request.logprobs else None,
    )


def _line(message: ChatMessage, index: int) -> Line:
    if message.role in ("system", "developer"):
        return Line(role="system", text=message.text)
    if message.role == "assistant":
        calls = tuple(
            FunctionCall(call.function.name, call.function.arguments, call.id)
            for call in message.tool_calls or ()
        )
        return Line(role="assistant", text=message.text, calls=calls)
    if message.role == "tool":
        return Line(role="result", text=message.text, call_id=message.tool_call_id or "")
    images: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    for number, part in enumerate(message.parts):
        where = f"messages.{index}.content.{number}"
        if isinstance(part, ChatImagePart):
            shown, asked = split_url(part.image_url.url, param=f"{where}.image_url.url")
            images, streams = images + shown, streams + asked
        elif isinstance(part, ChatVideoPart):
            streams += (stream_named(part.video_url.url, param=f"{where}.video_url.url"),)
    return Line(role="user", text=message.text, images=images, streams=streams)
