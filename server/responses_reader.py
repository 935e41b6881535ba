"""Reads a request for a response as one question, going on from an earlier one."""

from collections.abc import Sequence

from onlooker.core.errors import InvalidRequest
from onlooker.core.protocol.completions import JsonObjectFormat
from onlooker.core.protocol.functions import FunctionCallItem, FunctionResultItem, ToolNamed
from onlooker.core.protocol.openai_responses import (
    InputImagePart,
    InputVideoPart,
    ReasoningItem,
    ResponseItem,
    ResponseJsonSchemaFormat,
    ResponseMessage,
    ResponsesRequest,
)
from onlooker.engine.functions import FunctionCall
from onlooker.engine.interface import EngineInfo, Question
from onlooker.engine.sampling import Sampling
from onlooker.server.abilities import ANY_OBJECT, schema_for, toolbox
from onlooker.server.chat import TIERS, refuse
from onlooker.server.config import Settings
from onlooker.server.transcript import Line, split_url, stream_named

LOGPROBS = "message.output_text.logprobs"


def question_of(
    request: ResponsesRequest, info: EngineInfo, settings: Settings, *, max_tokens: int
) -> Question:
    """How a request wants to be answered, without what it asks.

    Raises:
        InvalidRequest: something would mislead, or the model cannot do it.
        TooLarge: the tools or the schema are too large.
    """
    refuse(request.aside)
    choice = request.tool_choice or "auto"
    tools = toolbox(
        request.tools or (),
        f"={choice.name}" if isinstance(choice, ToolNamed) else choice,
        parallel=request.parallel_tool_calls,
        info=info,
        settings=settings,
    )
    schema = None
    wanted = None if request.text is None else request.text.format
    if isinstance(wanted, JsonObjectFormat):
        schema = schema_for(ANY_OBJECT, info, settings, param="text.format")
    elif isinstance(wanted, ResponseJsonSchemaFormat):
        schema = schema_for(wanted.schema_, info, settings, param="text.format.schema")
    if schema is not None and tools:
        raise InvalidRequest(
            "an answer that is held to JSON cannot call functions: leave 'tools' or "
            "'text.format' out, or say tool_choice 'none'",
            param="text.format",
        )
    tells = LOGPROBS in (request.include or ()) or bool(request.top_logprobs)
    return Question(
        text="",
        max_tokens=max_tokens,
        instructions=request.instructions,
        sampling=Sampling(
            temperature=request.temperature or 0.0,
            top_p=1.0 if request.top_p is None else request.top_p,
            num_alternatives=(request.top_logprobs or 0) if tells else None,
        ),
        json_schema=schema,
        tools=tools,
        tier=TIERS.get(request.service_tier or "auto"),
    )


def lines_of(request: ResponsesRequest, earlier: Sequence[Line]) -> list[Line]:
    """What was said, after `earlier`. A request that names a stream asks that one only.

    Raises:
        InvalidRequest: an address of another kind, or a field that would mislead.
    """
    if isinstance(request.input, str):
        said = [Line(role="user", text=request.input)]
    else:
        said = [
            line
            for index, item in enumerate(request.input)
            if (line := _line(item, f"input.{index}")) is not None
        ]
    if any(line.streams for line in said):
        earlier = [_without_stream(line) for line in earlier]
    return [*earlier, *said]


def _without_stream(line: Line) -> Line:
    return Line(
        role=line.role,
        text=line.text,
        images=line.images,
        calls=line.calls,
        call_id=line.call_id,
    )


def _line(item: ResponseItem, where: str) -> Line | None:
    if isinstance(item, ReasoningItem):
        return None
    if isinstance(item, FunctionCallItem):
        return Line(
            role="assistant", calls=(FunctionCall(item.name, item.arguments, item.call_id),)
        )
    if isinstance(item, FunctionResultItem):
        return Line(role="result", text=item.text, call_id=item.call_id)
    return _message(item, where)


def _message(message: ResponseMessage, where: str) -> Line:
    if message.role in ("system", "developer"):
        return Line(role="system", text=message.text)
    if message.role == "assistant":
        return Line(role="assistant", text=message.text)
    images: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    for number, part in enumerate(message.parts):
        place = f"{where}.content.{number}"
        if isinstance(part, InputImagePart):
            shown, asked = split_url(part.image_url, param=f"{place}.image_url")
            images, streams = images + shown, streams + asked
        elif isinstance(part, InputVideoPart):
            streams += (stream_named(part.video_url, param=f"{place}.video_url"),)
    return Line(role="user", text=message.text, images=images, streams=streams)
