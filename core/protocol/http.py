"""Bodies of the HTTP calls. OpenAI's shapes where OpenAI has one."""

from typing import Annotated, Any, Literal

from pydantic import Field

from onlooker.core.guarantee import Guarantee
from onlooker.core.protocol.answer_facts import AnswerFacts, Usage
from onlooker.core.protocol.base import (
    ClockName,
    CompactionName,
    ErrorBody,
    FinalStatus,
    Inbound,
    Metadata,
    Outbound,
    StreamIdText,
    TierName,
    TokenDropName,
)
from onlooker.core.protocol.stream_objects import KeepForS, MaskList, NameplateConfig, StreamObject
from onlooker.core.scopes import Scope

# ---- streams ----

STREAM_HEADER = "Onlooker-Stream"
"""Names the stream that an OpenAI client's call is about, where its messages cannot."""


class SourceRequest(Inbound):
    """An address that the server reads frames from."""

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    """The address: ``rtsp(s)://…``, ``rtmp(s)://…``, ``http(s)://…`` (file, motion JPEG, HLS or a
    picture), ``srt://…``, ``udp://…`` (where to wait for MPEG-TS) or ``file:///…``; only what the
    operator allows."""
    fps: Annotated[float, Field(gt=0, le=240)] | None = None
    """Frames a second that are taken of it, at most."""
    nominal_fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    """The rate at which a file without times is played (raw ``.h264``, ``.h265``, ``.mjpeg``);
    default: the one that it names itself, or 25."""
    loop: bool = False
    """Whether to begin again at the end of a file."""
    transport: Literal["tcp", "udp"] | None = None
    """How an RTSP camera sends its packets: over the connection (``tcp``, the default) or by
    ``udp``."""
    every_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """For a picture (JPEG, PNG or WebP) at an ``http(s)://`` address: seconds between two fetches
    of it."""


class CreateStreamRequest(NameplateConfig):
    id: StreamIdText | None = None
    """The stream's id; default: a fresh one."""
    source: SourceRequest | None = None
    """The source that the server reads; default: frames are pushed by a connection or over HTTP."""
    clock: ClockName = "live"
    max_fps: Annotated[float, Field(gt=0, le=240)] | None = None
    gate_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    token_drop: TokenDropName | None = None
    """Which tokens of a clip the model computes, where little of the picture changes; default: as
    the server is set up."""
    compaction: CompactionName | None = None
    """What stays of clips that have left the recent window; default: as the server is set up."""
    service_tier: TierName | None = None
    """The tier whose targets hold for the stream's frames, and for questions that choose none."""
    metadata: Metadata = {}
    masks: MaskList | None = None
    """Parts of the pictures that are blacked out or blurred before anything looks at them; default:
    those that the stream had when it was last open."""
    keep_for_s: KeepForS | None = None
    """How long anything of the stream is kept; at most, and by default, as long as the server
    keeps anything."""
    starts_at: Annotated[float, Field(ge=0, le=32503680000, allow_inf_nan=False)] | None = None
    """Wall clock of stream time 0, in seconds since the Unix epoch, for recordings: questions may
    then name clock times and days. On the live clock sources are placed by it. A stream that is
    found again keeps the one that it had."""


class CreateImportRequest(Inbound):
    """A recording that the server is to fetch and import."""

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    """``file:///…`` or ``http(s)://…``; only what the operator allows."""
    starts_at: Annotated[
        float | Annotated[str, Field(max_length=64)], Field(union_mode="left_to_right")
    ]
    """When it began: seconds since the Unix epoch, or ISO 8601 (UTC where no zone is named)."""
    name: Annotated[str, Field(max_length=256)] | None = None
    """What to call it; shown only."""


class ImportObject(Outbound):
    """A recording on its way into a stream."""

    id: str
    object: Literal["stream.import"] = "stream.import"
    stream: str
    name: str
    url: str | None = None
    """The address from which it is fetched, without user name, password and query."""
    starts_at: float
    """When it began, in seconds since the Unix epoch."""
    state: Literal["waiting", "fetching", "running", "done", "failed", "cancelled"]
    reason: str | None = None
    """Why it failed, or why it is tried again; for people."""
    progress: float | None = None
    """Share (0-1) that has been imported; null where the recording does not say how long it is."""
    done_s: float = 0.0
    """How far it has been imported, in seconds of the recording."""
    duration_s: float | None = None
    left_out_s: float = 0.0
    """Seconds of its beginning that were left out, since the stream had come past them already."""
    pictures: int = 0
    """Pictures that the stream has been given."""
    broken: int = 0
    """Pieces of it that could not be decoded."""
    created_at: float
    ended_at: float | None = None


class ImportList(Outbound):
    object: Literal["list"] = "list"
    data: list[ImportObject]


class UpdateStreamRequest(NameplateConfig):
    """What is to change; absent fields stay as they are."""

    masks: MaskList | None = None
    """The stream's own masks from now on; null or an empty list takes them away."""
    keep_for_s: KeepForS | None = None
    """How long anything of the stream is kept from now on; null: as long as the server says."""
    reference: Annotated[str, Field(max_length=8 << 20)] | None = None
    """How the view usually looks: a picture as ``data:image/jpeg;base64,…``, or ``now`` for the
    newest one of the album; null takes it away."""


class ForgetReply(Outbound):
    """What was deleted of a stream."""

    object: Literal["stream.memory.deleted"] = "stream.memory.deleted"
    stream: str
    from_s: float
    to_s: float
    """Stream times from which and up to which everything was deleted."""
    clips: int
    notes: int
    journal_frames: int
    pictures: int
    """Pictures of the album."""
    diary_entries: int = 0
    """Sentences and summaries of the diary."""
    alerts: int
    """Alerts that were retained for subscribers, or waited for a webhook."""
    bytes: int
    """Bytes of the clips' keys and values, one copy counted, and of the journal."""
    pending_in: list[str] = []
    """Places that could not be reached now: tiers, ``journal``, ``album`` or ``engine``. What they
    hold is hidden, and deleted as soon as they can be reached, also after a restart."""


class StreamList(Outbound):
    object: Literal["list"] = "list"
    data: list[StreamObject]
    unreached: list[str] = []
    """Servers whose streams are missing, since they did not answer; where all were asked."""
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


class FrameReply(Outbound):
    """What became of a frame."""

    sequence: int
    outcome: Literal["kept", "skipped", "dropped"]
    reason: str | None = None
    """Why the frame was dropped."""
    guarantee: Guarantee | None = None
    """What the frame survives, when it was kept: `none`, `process`, `second`, `machine`,
    `server` or `replicated`."""
    capture_s: float
    seen_until_s: float | None = None
    lag_s: float | None = None


# ---- questions ----


class QuestionRequest(Inbound):
    question: Annotated[str, Field(min_length=1)]
    stream: bool = False
    """Whether to answer by server-sent events, with the WebSocket's `response.*` events, instead of
    one JSON answer."""
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    at_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Stream time of the question; default: now."""
    at: Annotated[str, Field(max_length=64)] | None = None
    """The time of the question as ISO 8601 (UTC where no zone is named), instead of `at_s`; for
    streams that know the wall times of their frames."""
    instructions: str | None = None
    budget_s: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] | None = None
    """Seconds for checking what the diary tells of, for questions about the past as a whole;
    default: `streams.moments.budget_s` of the server."""
    from_diary: bool = True
    """Whether a question about the past as a whole is answered from the diary, and checked. False
    leaves it to the model, which answers from what its context holds."""
    service_tier: TierName | None = None
    """The tier whose targets hold for this answer; default: the stream's."""
    confidence: bool = False
    """Whether `onlooker.confidence` tells how likely the answer's words were to the model; of
    moments, how likely the least likely of them is."""


class AnswerReply(Outbound):
    """One answer."""

    id: str
    object: Literal["answer"] = "answer"
    status: FinalStatus
    stream: str
    name: str = ""
    """What people call the stream; empty where nobody said."""
    question: str
    answer: str
    usage: Usage = Usage()
    onlooker: AnswerFacts = AnswerFacts()
    error: ErrorBody | None = None


# ---- OpenAI: models ----


class ModelObject(Outbound):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "onlooker"
    knows: str
    """One sentence on what the model can be asked about."""
    dialogue_turns: int
    """How many earlier questions and answers a question brings along where its client does not say
    how many: as many as suit the model, unless the server was set up otherwise."""


class ModelList(Outbound):
    object: Literal["list"] = "list"
    data: list[ModelObject]


# ---- OpenAI: short-lived tokens ----


class ExpiresAfter(Inbound):
    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=10, le=7200)] = 600


class ClientSecretRequest(Inbound):
    expires_after: ExpiresAfter = ExpiresAfter()
    session: dict[str, Any] | None = None
    """The session: only ``{"type": "realtime", "model": …}``; the rest is for `session.update`."""
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))] | None = None
    """What the token is good for: some of ``read``, ``ask``, ``push`` and ``watch`` that the key
    has too. Default: ``read`` and ``ask``."""


class ClientSecretSession(Outbound):
    type: Literal["realtime"] = "realtime"
    object: Literal["realtime.session"] = "realtime.session"
    model: str


class ClientSecretReply(Outbound):
    value: str
    """The token, which is used as the API key of a realtime connection."""
    expires_at: int
    """When the token expires, in seconds since the Unix epoch."""
    scopes: list[Scope]
    """What the token is good for."""
    session: ClientSecretSession


# ---- servers ----


class ServerObject(Outbound):
    """One server, as it last said of itself."""

    object: Literal["server"] = "server"
    name: str
    url: str
    """Where clients and other servers reach it; empty for a server without a fleet."""
    version: str
    model: str
    status: Literal["starting", "ready", "draining", "failed"]
    streams: int
    """Streams that are open there."""
    max_streams: int
    connections: int
    """Realtime connections that are open there."""
    load_ratio: float
    """Share in use of what is in shortest supply there: the engine, or the gateway's one thread."""
    room_ratio: float = 0.0
    """Share that is free of what it can do at full quality, as forecast; below 0 quality has given
    way already."""
    room_streams: int = 0
    """Further streams that it would take; 0 while it is not ready."""
    age_s: float = 0.0
    """How old this is, in seconds."""


class ServerList(Outbound):
    object: Literal["list"] = "list"
    data: list[ServerObject]


# ---- health ----


class HealthReply(Outbound):
    status: Literal["ok", "starting", "recovering", "draining", "failed"]
    reason: str | None = None
