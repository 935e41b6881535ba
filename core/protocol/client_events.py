"""What a client sends over the WebSocket as JSON: one union, told apart by `type`."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError

from onlooker.core.errors import InvalidRequest
from onlooker.core.protocol.answer_facts import DialogueTurns
from onlooker.core.protocol.base import (
    ClockName,
    CodecName,
    CompactionName,
    Inbound,
    Metadata,
    StreamIdText,
    TierName,
    TokenDropName,
)
from onlooker.core.protocol.bounded_json import JsonLimits, read_json, read_json_in_turns
from onlooker.core.protocol.conversation_items import ItemReference, MessageItem
from onlooker.core.protocol.foreign_fields import (
    OLDER_NAMES,
    RESPONSE_FIELDS,
    SESSION_FIELDS,
    ForeignFields,
    Lenient,
)
from onlooker.core.protocol.frame_header import MAX_CAPTURE_US, MAX_SEQUENCE, MAX_SLOT
from onlooker.core.protocol.functions import (
    MAX_FUNCTIONS,
    AnyTool,
    FunctionCallItem,
    FunctionResultItem,
    ToolNamed,
)
from onlooker.core.protocol.stream_objects import KeepForS, MaskList, NameplateConfig
from onlooker.core.protocol.watches import WatchChanges, WatchConfig, WatchId

MaxOutputTokens = Annotated[int, Field(ge=1)] | Literal["inf"]
"""The most tokens that an answer may have; ``inf`` takes the server's limit."""

ToolList = Annotated[list[AnyTool], Field(max_length=MAX_FUNCTIONS, fail_fast=True)]
ToolChoice = Literal["auto", "none", "required"] | ToolNamed


def _item_kind(item: Any) -> str | None:
    """An item without a type is a message."""
    kind = item.get("type", "message") if isinstance(item, dict) else getattr(item, "type", None)
    return kind if isinstance(kind, str) else None


SaidItem = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionResultItem, Tag("function_call_output")],
    Discriminator(_item_kind),
]
"""An item that a client adds to a conversation."""
InputItem = Annotated[
    MessageItem | FunctionCallItem | FunctionResultItem | ItemReference,
    Field(discriminator="type"),
]
"""An item of a question that is asked instead of what the conversation holds."""


class ClientEvent(Inbound):
    """The base of all client events."""

    event_id: Annotated[str, Field(max_length=512)] | None = None
    """The client's own name for the event; an `error` event repeats it."""


class InputVideoConfig(NameplateConfig):
    """How the session's own stream treats its frames."""

    clock: ClockName | None = None
    """``live``: frames may be dropped, now matters. ``virtual``: frames carry their time and
    nothing is dropped. Can be chosen until the first frame."""
    max_fps: Annotated[float, Field(gt=0)] | None = None
    """Frames over this rate are dropped before they are decoded."""
    gate_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """How much a frame must differ from the last kept one (0-1 of full scale) to be kept."""
    token_drop: TokenDropName | None = None
    """Which tokens of a clip the model computes, where little of the picture changes. Can be chosen
    until the first frame."""
    compaction: CompactionName | None = None
    """What stays of clips that have left the recent window. Can be chosen until the first frame."""
    service_tier: TierName | None = None
    """The tier whose targets hold for the stream's frames. Can be chosen until the first frame."""
    masks: MaskList | None = None
    """Parts of the pictures that are blacked out or blurred before anything looks at them. Can be
    changed at any time; an empty list takes them away."""
    keep_for_s: KeepForS | None = None
    """How long anything of the stream is kept, at most as long as the server keeps anything."""
    ack: Literal["all", "problems", "none"] | None = None
    """Which frames acknowledgements list; the totals are always told."""


class SessionConfig(Lenient):
    """What `session.update` may change; absent fields stay as they are."""

    foreign: ClassVar[ForeignFields] = SESSION_FIELDS
    older_names: ClassVar[Mapping[str, str]] = OLDER_NAMES

    type: Literal["realtime"] = "realtime"
    model: str | None = None
    """The name of the model, which must be the served one."""
    instructions: str | None = None
    """The system prompt of coming answers; null takes the engine's own."""
    max_output_tokens: MaxOutputTokens | None = None
    output_modalities: list[Literal["text"]] | None = None
    service_tier: TierName | None = None
    """The tier whose targets hold for coming answers; null takes the stream's."""
    tools: ToolList | None = None
    """Functions that coming answers may call."""
    tool_choice: ToolChoice | None = None
    """``auto`` (as the model likes), ``none``, ``required``, or the function that must be
    called."""
    parallel_tool_calls: bool | None = None
    """Whether one answer may make several calls; default: yes."""
    dialogue_turns: DialogueTurns | None = None
    """Earlier questions and answers of the conversation that coming questions bring along; null: as
    many as suit the model."""
    input_video: InputVideoConfig | None = None


class SessionUpdate(ClientEvent):
    type: Literal["session.update"]
    session: SessionConfig


class FrameAppend(ClientEvent):
    """A frame as JSON, for clients that cannot send binary messages."""

    type: Literal["input_video.frame.append"]
    frame: str
    """The frame's bytes in base64."""
    codec: CodecName
    timestamp_ms: Annotated[float, Field(ge=0, le=MAX_CAPTURE_US / 1000, allow_inf_nan=False)]
    """Stream time of capture in milliseconds."""
    sequence: Annotated[int, Field(ge=0, le=MAX_SEQUENCE)] | None = None
    """The frame's number; default: one more than the last of its slot."""
    slot: Annotated[int, Field(ge=0, le=MAX_SLOT)] = 0
    last: bool = False
    """Whether the source ends with this frame."""


class VideoAttach(ClientEvent):
    """Feed another stream from this connection."""

    type: Literal["input_video.attach"]
    slot: Annotated[int, Field(ge=1, le=MAX_SLOT)]
    stream: StreamIdText
    """The stream to feed; created if it does not exist."""


class VideoDetach(ClientEvent):
    """Stop feeding a stream; it stays."""

    type: Literal["input_video.detach"]
    slot: Annotated[int, Field(ge=1, le=MAX_SLOT)]


class ItemCreate(ClientEvent):
    type: Literal["conversation.item.create"]
    item: SaidItem
    previous_item_id: str | None = None
    """The item after which the new one is placed; ``root`` for the beginning; default: the end."""


class ItemRetrieve(ClientEvent):
    type: Literal["conversation.item.retrieve"]
    item_id: str


class ItemDelete(ClientEvent):
    type: Literal["conversation.item.delete"]
    item_id: str


class ItemTruncate(ClientEvent):
    """Cut an answer's sound short, of which there is none."""

    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: int = 0
    audio_end_ms: float = 0


class InputAudioAppend(ClientEvent):
    """Sound for the model to hear, which is not taken."""

    type: Literal["input_audio_buffer.append"]
    audio: str


class InputAudioCommit(ClientEvent):
    type: Literal["input_audio_buffer.commit"]


class InputAudioClear(ClientEvent):
    type: Literal["input_audio_buffer.clear"]


class OutputAudioClear(ClientEvent):
    type: Literal["output_audio_buffer.clear"]


class ResponseConfig(Lenient):
    """One answer's own settings; absent fields come from the session."""

    foreign: ClassVar[ForeignFields] = RESPONSE_FIELDS
    older_names: ClassVar[Mapping[str, str]] = OLDER_NAMES

    instructions: str | None = None
    max_output_tokens: MaxOutputTokens | None = None
    output_modalities: list[Literal["text"]] | None = None
    input: Annotated[list[InputItem], Field(max_length=64, fail_fast=True)] | None = None
    """Items that are asked instead of what the conversation holds."""
    conversation: Literal["auto", "none"] | None = None
    """``none``: an answer beside the conversation, neither reading nor joining its dialogue."""
    tools: ToolList | None = None
    """Functions that this answer may call; default: the session's."""
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    metadata: Metadata | None = None
    service_tier: TierName | None = None
    """The tier whose targets hold for this answer; default: the session's, else the stream's."""
    stream: StreamIdText | None = None
    """The stream that is asked; default: the session's own."""
    at_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Stream time of the question: the answer comes when the model has seen everything up to it,
    and knows nothing later. Default: now."""


class ResponseCreate(ClientEvent):
    type: Literal["response.create"]
    response: ResponseConfig = ResponseConfig()


class ResponseCancel(ClientEvent):
    type: Literal["response.cancel"]
    response_id: str | None = None
    """The answer to cancel; default: the conversation's running one."""


class WatchCreate(ClientEvent):
    """Leave a standing question with a stream; everyone who follows it is told."""

    type: Literal["stream.watch.create"]
    watch: WatchConfig
    stream: StreamIdText | None = None
    """The stream that is watched; default: the session's own."""


class WatchUpdate(ClientEvent):
    type: Literal["stream.watch.update"]
    watch_id: WatchId
    watch: WatchChanges
    stream: StreamIdText | None = None


class WatchDelete(ClientEvent):
    type: Literal["stream.watch.delete"]
    watch_id: WatchId
    stream: StreamIdText | None = None


class WatchListRequest(ClientEvent):
    type: Literal["stream.watch.list"]
    stream: StreamIdText | None = None


class Ping(ClientEvent):
    type: Literal["ping"]


AnyClientEvent = Annotated[
    SessionUpdate
    | FrameAppend
    | VideoAttach
    | VideoDetach
    | ItemCreate
    | ItemRetrieve
    | ItemDelete
    | ItemTruncate
    | InputAudioAppend
    | InputAudioCommit
    | InputAudioClear
    | OutputAudioClear
    | ResponseCreate
    | ResponseCancel
    | WatchCreate
    | WatchUpdate
    | WatchDelete
    | WatchListRequest
    | Ping,
    Field(discriminator="type"),
]

_ADAPTER: TypeAdapter[AnyClientEvent] = TypeAdapter(AnyClientEvent)

CLIENT_EVENT_TYPES: tuple[str, ...] = (
    "session.update",
    "input_video.frame.append",
    "input_video.attach",
    "input_video.detach",
    "conversation.item.create",
    "conversation.item.retrieve",
    "conversation.item.delete",
    "conversation.item.truncate",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "output_audio_buffer.clear",
    "response.create",
    "response.cancel",
    "stream.watch.create",
    "stream.watch.update",
    "stream.watch.delete",
    "stream.watch.list",
    "ping",
)

_ITEM_TYPES = ("message", "function_call", "function_call_output")
_MAX_QUOTED_CHARS = 80


class BadEvent(InvalidRequest):
    """A text message that is no client event. Carries the event's id, where one could be read."""

    def __init__(
        self, message: str, *, code: str, param: str | None = None, event_id: str | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.code = code
        self.event_id = event_id


def parse_client_event(text: str, limits: JsonLimits | None = None) -> AnyClientEvent:
    """Read one text message.

    Raises:
        BadEvent: not JSON, no object, an unknown type (code ``unknown_event``), or a field that is
            unknown, missing or out of range; the message names it.
        TooComplex: over one of the limits.
    """
    try:
        raw = read_json(text, limits or JsonLimits())
    except ValueError as error:
        raise _not_json(error) from None
    return _event_of(raw)


async def read_client_event(text: str, limits: JsonLimits) -> AnyClientEvent:
    """As `parse_client_event`; while a large text is looked at, others get their turns."""
    try:
        raw = await read_json_in_turns(text, limits)
    except ValueError as error:
        raise _not_json(error) from None
    return _event_of(raw)


def _not_json(error: ValueError) -> BadEvent:
    return BadEvent(f"the message is not JSON: {quote(str(error))}", code="invalid_json")


def _event_of(raw: Any) -> AnyClientEvent:
    if not isinstance(raw, dict):
        raise BadEvent(
            "a message is a JSON object with a 'type'; this one is "
            f"{'an array' if isinstance(raw, list) else 'a bare value'}",
            code="invalid_json",
        )
    event_id = raw.get("event_id")
    event_id = event_id[:512] if isinstance(event_id, str) else None
    event_type = raw.get("type")
    if not isinstance(event_type, str):
        raise BadEvent(
            "the event has no 'type'", code="invalid_request", param="type", event_id=event_id
        )
    if event_type not in CLIENT_EVENT_TYPES:
        raise BadEvent(
            f"there is no client event '{quote(event_type)}'; known are "
            f"{', '.join(CLIENT_EVENT_TYPES)}",
            code="unknown_event",
            param="type",
            event_id=event_id,
        )
    if event_type == "conversation.item.create":
        _check_item_type(event_type, raw.get("item"), event_id)
    try:
        return _ADAPTER.validate_python(raw)
    except ValidationError as error:
        message, param = explain_validation(error, skip=1)
        raise BadEvent(
            f"{event_type}: {message}", code="invalid_request", param=param, event_id=event_id
        ) from None


def _check_item_type(event_type: str, item: Any, event_id: str | None) -> None:
    """Say of OpenAI's other kinds of items that they are not taken. Raises `BadEvent`."""
    kind = _item_kind(item)
    if kind is not None and kind not in _ITEM_TYPES:
        raise BadEvent(
            f"{event_type}: an item is one of {', '.join(_ITEM_TYPES)}; got '{quote(kind)}'",
            code="invalid_request",
            param="item.type",
            event_id=event_id,
        )


def is_additive(event_type: str) -> bool:
    """Whether OpenAI has no such client event: who sends one knows this server's own words."""
    return event_type == "ping" or event_type.startswith(("input_video.", "stream."))


def explain_validation(error: ValidationError, *, skip: int = 0) -> tuple[str, str | None]:
    """Say in one line what the first problem is, and name its field with dots.

    `skip` leaves out that many leading parts of the location (a union's tag); the tags of unions
    further in, which are no fields, are left out by their names.
    """
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    problem = problems[0]
    tags = (*_ITEM_TYPES, "function", "mcp")
    named = [str(part) for part in problem["loc"][skip:] if part not in tags]
    field = ".".join(named) or None
    if problem["type"] == "extra_forbidden":
        text = f"unknown field '{quote(field or '')}'"
    elif problem["type"] == "missing":
        text = f"field '{field}' is missing"
    else:
        text = problem["msg"] if field is None else f"field '{quote(field)}': {problem['msg']}"
    if len(problems) > 1:
        text += f" (and {len(problems) - 1} more)"
    return text, None if field is None else quote(field)


def quote(text: str) -> str:
    """Shorten a client's own words before they go back to it."""
    return text if len(text) <= _MAX_QUOTED_CHARS else text[: _MAX_QUOTED_CHARS - 1] + "…"
