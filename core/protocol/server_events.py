"""What the server sends over the WebSocket, and as server-sent events over HTTP.

One union, told apart by `type`; those of answers and conversations are in `answer_events.py`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from pydantic_core import from_json

from onlooker.core.guarantee import Guarantee
from onlooker.core.protocol.answer_events import (
    CallArgumentsDelta,
    CallArgumentsDone,
    ContentPartAdded,
    ContentPartDone,
    InputAudioCleared,
    ItemAdded,
    ItemDeleted,
    ItemDone,
    ItemRetrieved,
    OutputAudioCleared,
    OutputItemAdded,
    OutputItemDone,
    ResponseCreated,
    ResponseDone,
    TextDelta,
    TextDone,
)
from onlooker.core.protocol.base import ErrorBody, FinalStatus, Outbound
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.core.protocol.stream_objects import (
    Capabilities,
    DroppedFrame,
    FrameTotals,
    HealthWord,
    Limits,
    StreamObject,
    VideoSettings,
)
from onlooker.core.protocol.watches import AlertObject, WatchObject

# ---- session ----


class SessionObject(Outbound):
    """The session as it is in force."""

    type: Literal["realtime"] = "realtime"
    object: Literal["realtime.session"] = "realtime.session"
    id: str
    model: str
    stream: str
    """The name of the session's own stream, which is slot 0."""
    instructions: str | None = None
    max_output_tokens: int | Literal["inf"] = "inf"
    output_modalities: list[str] = ["text"]
    tools: list[dict[str, Any]] = []
    """Functions that answers may call."""
    tool_choice: str | dict[str, Any] = "auto"
    parallel_tool_calls: bool = True
    dialogue_turns: int = 0
    """How many earlier questions and answers of the conversation a question brings along."""
    input_video: VideoSettings = VideoSettings()
    ignored: list[str] = []
    """Fields of the last `session.update` that were passed over, since they are OpenAI's and change
    nothing that is done here."""
    capabilities: Capabilities
    limits: Limits


class SessionCreated(ServerEvent):
    type: Literal["session.created"] = "session.created"
    session: SessionObject


class SessionUpdated(ServerEvent):
    type: Literal["session.updated"] = "session.updated"
    session: SessionObject


class SessionWarning(ServerEvent):
    """Something that a client asked for was passed over; the rest of its event holds."""

    type: Literal["session.warning"] = "session.warning"
    params: list[str]
    """The fields that were passed over."""
    message: str
    caused_by: str | None = None
    """The `event_id` of the client's event."""


class SessionClosing(ServerEvent):
    """The server is about to end the connection."""

    type: Literal["session.closing"] = "session.closing"
    reason: str
    """Why the connection ends: ``shutting_down``, ``idle``, ``token_expired``,
    ``too_many_errors``, ``engine_dead``, ``owner_lost``, ``moved`` (the stream goes on at another
    server: connect again at once) or ``internal_error``."""
    message: str = ""
    retry_after_s: float | None = None


class Pong(ServerEvent):
    type: Literal["pong"] = "pong"


class ErrorEvent(ServerEvent):
    """Something was wrong; the connection stays."""

    type: Literal["error"] = "error"
    error: ErrorBody


# ---- video ----


class VideoAck(ServerEvent):
    """What became of the frames of one slot since the last acknowledgement."""

    type: Literal["input_video.ack"] = "input_video.ack"
    slot: int
    stream: str
    kept: list[int] = []
    guarantee: Guarantee | None = None
    """The least that any frame kept since the last acknowledgement survives; null where none was.
    Covers those that `kept` leaves out, too."""
    skipped: list[int] = []
    """Sequence numbers of near-duplicates of the last kept frame."""
    dropped: list[DroppedFrame] = []
    omitted: int = 0
    """Outcomes that are only in the totals, because more came than one event lists."""
    last_sequence: int | None = None
    """Sequence number of the newest frame whose outcome is known."""
    seen_until_s: float | None = None
    lag_s: float | None = None
    totals: FrameTotals = FrameTotals()


class VideoPace(ServerEvent):
    """What the server would like to be sent: more is dropped."""

    type: Literal["input_video.pace"] = "input_video.pace"
    slot: int = 0
    stream: str
    fps: float
    width: int
    height: int
    lag_s: float | None = None
    reason: str


class VideoAttached(ServerEvent):
    type: Literal["input_video.attached"] = "input_video.attached"
    slot: int
    stream: StreamObject


class VideoDetached(ServerEvent):
    type: Literal["input_video.detached"] = "input_video.detached"
    slot: int
    stream: str


class StreamUpdated(ServerEvent):
    """The state of a stream: when one begins to follow it, when its source or its privacy changes,
    and when part of its memory is deleted. The `source` in it is as it was at the event, also where
    the event is told again to who comes back. HTTP events only."""

    type: Literal["stream.updated"] = "stream.updated"
    stream: StreamObject
    reason: str | None = None
    """Why the event came: ``source began``, ``source playing``, ``source lost``, ``source found
    again``, ``source ended``, ``source failed``, ``privacy changed`` or ``memory deleted``; null at
    first."""
    event_number: int | None = None
    """Number of the event among the stream's, from which one can resume; null at first."""


class StreamAnswer(ServerEvent):
    """Somebody asks this stream: when the answer begins and when it ends. HTTP events only."""

    type: Literal["stream.answer"] = "stream.answer"
    stream: str
    response_id: str
    text: str = ""
    status: Literal["in_progress", FinalStatus]
    asked_s: float | None = None


class StreamAlert(ServerEvent):
    """A watch speaks. Each comes once and in order to everyone who follows the stream."""

    type: Literal["stream.alert"] = "stream.alert"
    slot: int | None = None
    stream: str
    event_number: int
    """The number of the event on its stream: who comes back with it as `after` misses nothing."""
    alert: AlertObject


class StreamWatch(ServerEvent):
    """A watch was created, updated or deleted, or has ended by itself."""

    type: Literal["stream.watch"] = "stream.watch"
    slot: int | None = None
    stream: str
    event_number: int
    change: Literal["created", "updated", "deleted", "ended"]
    watch_id: str
    watch: WatchObject | None = None
    """The watch as it is now; null when it is gone."""


class StreamScene(ServerEvent):
    """A new scene begins: a cut."""

    type: Literal["stream.scene"] = "stream.scene"
    slot: int | None = None
    stream: str
    event_number: int
    at_s: float


class StreamHealth(ServerEvent):
    """The camera's view got into trouble, or is well again."""

    type: Literal["stream.health"] = "stream.health"
    slot: int | None = None
    stream: str
    event_number: int
    health: HealthWord
    was: HealthWord
    at_s: float
    """Stream time; trouble has lasted for a few seconds by then."""


class StreamTimeJump(ServerEvent):
    """The source's own time did not go on as it was expected to."""

    type: Literal["stream.time"] = "stream.time"
    slot: int | None = None
    stream: str
    event_number: int
    kind: Literal["gap", "moved", "arrival"]
    """``gap``: there was no picture for a while, and stream time has gone on by that. ``moved``: a
    time that cannot be true, or a clock that was set; what came with it follows what came before.
    ``arrival``: the source's clock does not keep step with ours; from now on stream time is that at
    which pictures arrive."""
    at_s: float
    """Stream time of the picture that came with it."""
    by_s: float
    """Seconds that the source's time was ahead of what was expected; negative where it was back."""


class StreamWatches(ServerEvent):
    """The answer to `stream.watch.list`."""

    type: Literal["stream.watches"] = "stream.watches"
    stream: str
    watches: list[WatchObject]


class StreamClosed(ServerEvent):
    """The stream is gone, with all that was remembered of it."""

    type: Literal["stream.closed"] = "stream.closed"
    slot: int | None = None
    stream: str
    reason: str


AnyServerEvent = Annotated[
    SessionCreated
    | SessionUpdated
    | SessionWarning
    | SessionClosing
    | Pong
    | ErrorEvent
    | ItemAdded
    | ItemDone
    | ItemRetrieved
    | ItemDeleted
    | InputAudioCleared
    | OutputAudioCleared
    | ResponseCreated
    | OutputItemAdded
    | ContentPartAdded
    | TextDelta
    | TextDone
    | ContentPartDone
    | CallArgumentsDelta
    | CallArgumentsDone
    | OutputItemDone
    | ResponseDone
    | VideoAck
    | VideoPace
    | VideoAttached
    | VideoDetached
    | StreamUpdated
    | StreamAnswer
    | StreamAlert
    | StreamWatch
    | StreamScene
    | StreamHealth
    | StreamTimeJump
    | StreamWatches
    | StreamClosed,
    Field(discriminator="type"),
]

_OPENAI_EVENTS = ("session.created", "session.updated", "error")
_OPENAI_FAMILIES = ("conversation.", "response.", "input_audio_buffer.", "output_audio_buffer.")


def is_openai(event_type: str) -> bool:
    """Whether OpenAI's API has this event, so that any realtime client understands it."""
    return event_type in _OPENAI_EVENTS or event_type.startswith(_OPENAI_FAMILIES)


_ADAPTER: TypeAdapter[AnyServerEvent] = TypeAdapter(AnyServerEvent)


class UnknownEvent(ServerEvent):
    """An event of a newer server. Readers pass it by."""

    type: str


SERVER_EVENT_TYPES: frozenset[str] = frozenset(
    event.model_fields["type"].default for event in ServerEvent.__subclasses__()
    if event is not UnknownEvent
)  # fmt: skip


def parse_server_event(text: str | bytes) -> AnyServerEvent | UnknownEvent:
    """Read one event, for clients.

    Raises:
        ValueError: not JSON, or a known event with fields that do not fit
            (`pydantic.ValidationError` is one).
    """
    raw = from_json(text)
    if isinstance(raw, dict) and raw.get("type") not in SERVER_EVENT_TYPES:
        return UnknownEvent.model_validate(raw)
    return _ADAPTER.validate_python(raw)
