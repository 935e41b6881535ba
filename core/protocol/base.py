"""What several messages share: model settings, errors, streams, items, usage."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import STREAM_ID_PATTERN
from onlooker.core.media import Codec

CODEC_NAMES = tuple(codec.name.lower() for codec in Codec)
"""``jpeg``, ``png``, …: codecs by name, in JSON."""

CodecName = Literal["jpeg", "png", "webp", "h264", "vp8", "vp9", "webm", "fmp4"]
ClockName = Literal["live", "virtual"]
TierName = Literal["interactive", "standard", "background"]
"""How much somebody minds waiting, which decides whose targets hold."""
TokenDropName = Literal["off", "filled", "shown_again", "dtd", "stc", "curvestream"]
"""Methods by which places of a picture that hardly changed are not computed again."""
CompactionName = Literal["off", "value_norm", "vsb", "carriers", "merge"]
"""Methods by which what is remembered of a clip gets smaller once it is no longer recent."""
FinalStatus = Literal["completed", "cancelled", "incomplete", "failed"]
"""How an answer ended."""
StreamIdText = Annotated[str, Field(pattern=f"^{STREAM_ID_PATTERN}$")]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]
"""The client's own key-value pairs, kept and given back: at most 16, as OpenAI's."""


LabelText = Annotated[str, Field(min_length=1, max_length=200)]
Labels = Annotated[list[LabelText], Field(max_length=1000)]
"""Words by which streams are picked, such as ``outside``."""

MAX_TEXT_CHARS = 64 << 20
"""No text that a client sends is longer, whatever the settings."""


class Inbound(BaseModel):
    """Something a client sends: unknown fields are refused, so that a typing error is told.

    Text is Unicode text. Half of a surrogate pair, which JSON can spell but nobody can write out
    again, is refused; pydantic looks for it only in texts that have a limit.
    """

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, str_max_length=MAX_TEXT_CHARS
    )


class Outbound(BaseModel):
    """Something the server sends: a reader ignores fields it does not know."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)


class ErrorBody(Outbound):
    """What was wrong and what to do about it; the same over HTTP and the WebSocket."""

    type: str
    """The kind: ``invalid_request_error``, ``authentication_error``, ``permission_error``,
    ``not_found_error``, ``conflict_error``, ``rate_limit_error`` (a limit of the caller's tenant),
    ``overloaded_error`` or ``server_error``."""
    code: str
    """Stable text for programs, such as ``unsupported_media``."""
    message: str
    """Text for people: what was expected, what was found, what to do."""
    param: str | None = None
    """The field that was wrong, where there is one."""
    event_id: str | None = None
    """The client event that caused it (WebSocket only)."""
    retryable: bool = False
    """Whether the same call may succeed later, unchanged."""
    retry_after_s: float | None = None
    """Seconds after which it makes sense to try again."""
    limit: str | None = None
    """Which limit of the caller's tenant is reached: ``streams``, ``fps``,
    ``questions_per_minute``, ``memory_bytes`` or ``watches``; null for all other errors."""


class ErrorReply(Outbound):
    """The body of every HTTP error."""

    error: ErrorBody


# ---- conversation items ----


class TextPart(Inbound):
    """Text in a message."""

    type: Literal["input_text", "output_text"]
    text: str


class ImagePart(Inbound):
    """A picture in a user's message."""

    type: Literal["input_image"]
    image_url: str
    """``data:image/jpeg;base64,…`` (or png, webp). Addresses are not fetched."""
    detail: Literal["auto", "low", "high", "original"] | None = None
    """Accepted for compatibility; every picture is brought to the model's frame size."""


ContentPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class MessageItem(Inbound):
    """One message of a conversation."""

    type: Literal["message"] = "message"
    id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    object: Literal["realtime.item"] | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None
    role: Literal["user", "assistant", "system"]
    content: Annotated[list[ContentPart], Field(min_length=1, max_length=16, fail_fast=True)]

    @model_validator(mode="after")
    def _parts_fit_the_role(self) -> "MessageItem":
        for part in self.content:
            if part.type == "input_image" and self.role != "user":
                raise ValueError("only a user's message can hold an input_image")
            if part.type == "output_text" and self.role != "assistant":
                raise ValueError("output_text belongs in an assistant's message; use input_text")
        return self

    @property
    def text(self) -> str:
        """All text of the message, one part a line."""
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def images(self) -> list[ImagePart]:
        """The pictures of the message."""
        return [part for part in self.content if isinstance(part, ImagePart)]


class ItemReference(Inbound):
    """An item that the conversation already holds."""

    type: Literal["item_reference"]
    id: str


class OutputText(Outbound):
    """A text part of an item."""

    type: Literal["output_text", "input_text"] = "output_text"
    text: str = ""


class OutputImage(Outbound):
    """A picture of an item, told of but not sent back."""

    type: Literal["input_image"] = "input_image"
    detail: str | None = None


class ConversationItem(Outbound):
    """An item as the server tells it. Pictures are mentioned without their bytes."""

    id: str
    object: Literal["realtime.item"] = "realtime.item"
    type: Literal["message"] = "message"
    status: Literal["completed", "incomplete", "in_progress"] = "completed"
    role: Literal["user", "assistant", "system"]
    content: list[OutputText | OutputImage] = []


# ---- answers ----


class InputTokenDetails(Outbound):
    cached_tokens: int = 0
    """Input tokens whose KV was reused rather than computed."""


DialogueTurns = Annotated[int, Field(ge=0, le=64)]
"""How many earlier questions and answers a question brings along."""


class Usage(Outbound):
    """Tokens of one answer."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_token_details: InputTokenDetails = InputTokenDetails()


class TopLogprob(Outbound):
    token: str
    logprob: float
    bytes: list[int]
    """The token's text in UTF-8."""


class TokenLogprob(TopLogprob):
    """A token of an answer and how likely it was."""

    top_logprobs: list[TopLogprob] = []


class EvidenceSpan(Outbound):
    """A span of stream time that was in the model's context: of each clip the time for which it
    stands, which goes on while the picture stays nearly the same."""

    start_s: float
    end_s: float
    source: str
    """``recent`` (the recent window), ``retrieved`` (brought back for this question), ``named``
    (the question named its time), ``diary`` (the diary told of it, and it was looked at again) or
    ``shown_again`` (a picture of it, for a second look)."""
    tier: str
    """The storage tier where it lay: ``device``, ``memory``, ``disk`` or ``redis``; ``album`` for
    pictures that were shown again. What was
    computed for this answer only, such as the newest frame, lay on the ``device``."""
    partial: bool = False
    """Whether the model computed some clip of the span without places of its picture that had
    hardly changed: what is seen there may be what an earlier clip showed."""
    compacted: bool = False
    """Whether some clip of the span was compacted when it had left the recent window, so that only
    a part is left of what the model computed of it."""
    picture: str | None = None
    """The path of a picture where the server keeps an album: the newest of the span where that is
    ``recent``, else its first."""


class MomentObject(Outbound):
    """A moment at which what was asked about happened, or began to be so."""

    at_s: float
    end_s: float
    """Stream times at which its clip begins and ends."""
    wall_time: float | None
    """Wall clock of `at_s`, in seconds since the Unix epoch; null where it is not known."""
    picture: str | None
    """The path of its picture, where the server keeps an album."""
    confidence: float
    """Probability (0-1) that it is so, by a check of its clip."""


class AnswerFacts(Outbound):
    """What an answer was based on."""

    stream: str | None = None
    """The stream that was asked."""
    asked_s: float | None = None
    """Stream time of the question: nothing captured later can have changed the answer."""
    seen_until_s: float | None = None
    """Stream time up to which the model's context showed the stream: where its newest clip ends, or
    the last picture that was nearly the same; null without one."""
    clip_spans_s: list[tuple[float, float]] = []
    """Spans of stream time for which the model's context stood, as (start, end)."""
    retrieved_spans_s: list[tuple[float, float]] = []
    """Those of `clip_spans_s` that had left the recent window and were brought back."""
    memory_incomplete: bool = False
    """Whether something that should have been remembered could not be read."""
    evidence: list[EvidenceSpan] = []
    """The spans of `clip_spans_s` with why they were shown and where they came from."""
    moments: list[MomentObject] = []
    """Of a question about the past as a whole (when, how often, for the last time): the moments
    that the diary told of and that their clips confirm, in order of time."""
    moments_exact: bool | None = None
    """Whether all that the diary told of was checked, so that a count is exact as far as the diary
    is whole; null where the answer is no list of moments."""
    fetched_bytes: dict[str, int] = {}
    """Bytes of memory beyond the recent window that were read for this answer, by tier."""
    fetched_ratio: float | None = None
    """The bytes of `fetched_bytes` as a share of all that is remembered of the stream."""
    dialogue_turns: int = 0
    """How many earlier questions and answers the model was given with the question."""
    forgotten_spans_s: list[tuple[float, float]] = []
    """Times that the question named and that were deleted, as (start, end)."""
    confidence: float | None = None
    """How likely the model's words were to it, from 0 to 1: the geometric mean of the probabilities
    of the answer's tokens. Null where the question did not ask for it (`confidence`)."""
    ttft_ms: float | None = None
    """Milliseconds from the acceptance of the question to its first piece of text."""


# ---- streams ----


class FrameTotals(Outbound):
    """What became of a stream's frames since it was opened."""

    received: int = 0
    kept: int = 0
    skipped: int = 0
    dropped: dict[str, int] = {}
    """The number of dropped frames by reason."""


class SourceInfo(Outbound):
    """Where a stream's frames come from, or where they came from last, and how that fares."""

    kind: Literal["none", "push", "pull"] = "none"
    """What feeds it: nothing yet, a connection or HTTP calls, or an address that the server
    reads."""
    url: str | None = None
    """The address of a pulled source, without user name, password and query."""
    state: Literal["opening", "playing", "lost", "ended", "failed"] | None = None
    """How it is: a ``lost`` source is tried again at `next_try_at`; one that has ``ended`` or
    ``failed`` is not."""
    reason: str | None = None
    """Why it is so, and what to do about it, for people."""
    changed_at: float | None = None
    """When it came to be so, in seconds since the Unix epoch."""
    failures: int = 0
    """Attempts in a row that failed."""
    next_try_at: float | None = None
    """When a source that is lost is tried again, in seconds since the Unix epoch."""


MaskShare = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class NameplateConfig(Inbound):
    """What people call a stream and say of it. What is absent or null stays as it was; what is
    empty is taken away."""

    name: Annotated[str, Field(max_length=1000)] | None = None
    """What people call the stream, such as "Front door"."""
    description: Annotated[str, Field(max_length=4000)] | None = None
    """What it shows and from where, in a sentence or two. The model is told of it with each
    question, where it can make use of that."""
    labels: Labels | None = None
    """Words by which streams are picked, such as ``door`` and ``outside``: one word each, in small
    letters."""


class MaskConfig(Inbound):
    """A part of a stream's pictures that nobody is to see."""

    polygon: Annotated[
        list[tuple[MaskShare, MaskShare]], Field(min_length=3, max_length=1024, fail_fast=True)
    ]
    """Corners as [x, y], in shares (0-1) of the width and height of the upright picture, from its
    left upper corner. Three or more; the last is joined to the first."""
    effect: Literal["black", "blur"] = "black"
    """``black`` leaves nothing of the part; ``blur`` leaves its colours in coarse blocks."""


MaskList = Annotated[list[MaskConfig], Field(max_length=1024, fail_fast=True)]

KeepForS = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""Seconds for which anything of a stream is kept."""


class MaskObject(Outbound):
    """A mask as the server tells it; see `MaskConfig`."""

    polygon: list[tuple[float, float]]
    effect: Literal["black", "blur"]


HealthWord = Literal["ok", "black", "blocked", "frozen", "blurred", "moved"]


class StreamObject(Outbound):
    """A stream as the server tells it."""

    id: str
    object: Literal["stream"] = "stream"
    created_at: float
    """When the stream was opened, in seconds since the Unix epoch."""
    starts_at: float | None = None
    """Wall clock of stream time 0, in seconds since the Unix epoch, where the stream was opened
    with one."""
    clock: ClockName = "live"
    persistent: bool = True
    """Whether the stream outlives the connection that opened it (until its idle limit)."""
    max_fps: float | None = None
    gate_threshold: float | None = None
    token_drop: TokenDropName | None = None
    """Which tokens of a clip the model computes; null: as the server is set up."""
    compaction: CompactionName | None = None
    """What stays of clips that are no longer recent; null: as the server is set up."""
    metadata: dict[str, str] = {}
    name: str = ""
    """What people call it; empty where nobody said."""
    description: str = ""
    labels: list[str] = []
    reference: str | None = None
    """The path of its reference picture; null where it has none."""
    source: SourceInfo = SourceInfo()
    totals: FrameTotals = FrameTotals()
    clips: int = 0
    """Clips that the model has seen."""
    received_until_s: float | None = None
    """Stream time of the newest frame that came in and was taken; null before the first. Whoever
    sends a recording again goes on after it."""
    seen_until_s: float | None = None
    """Stream time up to which the model has seen; null before the first clip."""
    lag_s: float | None = None
    """Seconds from the arrival of the newest seen clip's last frame until the model had seen it."""
    fps: float | None = None
    """Frames a second that come in, lately."""
    service_tier: TierName = "standard"
    """The tier whose targets hold for the stream's frames."""
    quality_level: int = 0
    """Rung of the quality ladder: 0 is full quality; more is given up at each level while there is
    too much to do."""
    viewers: int = 0
    """Connections and event readers that listen."""
    health: HealthWord = "ok"
    """How the camera's view is, as far as its pictures tell."""
    health_since_s: float | None = None
    """Stream time since which it is not `ok`; null while it is."""
    guarantee: Guarantee = Guarantee.NONE
    """What a frame that is kept now survives."""
    masks: list[MaskObject] = []
    """The stream's own masks; those that the server has for every stream come on top."""
    keep_for_s: float | None = None
    """How long anything of the stream is kept, in seconds; null: as long as there is room."""
    forgotten_until_s: float | None = None
    """What was captured before this stream time was deleted because it was older than that; null
    where nothing was."""


class DroppedFrame(Outbound):
    sequence: int
    reason: str
    """One of the documented reasons, such as ``mailbox_full`` or ``undecodable``."""


class Capabilities(Outbound):
    """What this server can do; `session.created` carries it."""

    protocol_version: int
    codecs: list[str]
    input_modalities: list[str] = ["text", "image", "video"]
    output_modalities: list[str] = ["text"]
    clocks: list[str] = ["live", "virtual"]
    engine_mode: str
    """The engine's mode: ``fake``, ``resend`` or ``segments``."""
    knows: str
    """One sentence on what the model can be asked about."""
    frame_width: int
    frame_height: int
    """Pixels to which every frame is brought, with `frame_width`; sending more is a waste."""
    guarantee: Guarantee = Guarantee.NONE
    """What a kept frame survives at best; a stream that ends with its connection has none."""
    score_heads: list[str] = []
    """Names of the model's own heads, for watches with the trigger `heads`."""


class Limits(Outbound):
    """What this server refuses; `session.created` carries it."""

    max_message_bytes: int
    max_frame_bytes: int
    max_frame_pixels: int
    max_fps: float
    max_slots: int
    max_items: int
    max_text_chars: int
    max_images: int
    max_output_tokens: int
    idle_timeout_s: float
    """Seconds after which a connection that sends nothing and awaits nothing is closed."""


JsonObject = dict[str, Any]


class VideoSettings(Outbound):
    """The session's `input_video` as it is in force."""

    clock: ClockName = "live"
    max_fps: float | None = None
    gate_threshold: float | None = None
    token_drop: TokenDropName | None = None
    compaction: CompactionName | None = None
    service_tier: TierName | None = None
    masks: list[MaskObject] = []
    keep_for_s: float | None = None
    name: str = ""
    description: str = ""
    labels: list[str] = []
    ack: Literal["all", "problems", "none"] = "all"
