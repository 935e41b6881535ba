"""Streams as clients make them and see them, and what a server can do and takes."""

from typing import Annotated, Any, Literal

from pydantic import Field

from onlooker.core.guarantee import Guarantee
from onlooker.core.protocol.base import (
    ClockName,
    CompactionName,
    Inbound,
    Labels,
    Outbound,
    TierName,
    TokenDropName,
)


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
