"""What a stream is opened with, and what can be read of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import StreamId
from onlooker.core.media import DropReason, ViewTrouble
from onlooker.core.protocol.base import CompactionName, TokenDropName
from onlooker.scheduler.slo import Tier
from onlooker.streams.config import StreamsSection
from onlooker.streams.lease import SourceStatus
from onlooker.streams.masks import Mask
from onlooker.streams.nameplate import NO_CHANGES, Nameplate, NameplateChanges


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """What a stream is opened with. None takes the server's setting."""

    clock: Literal["live", "virtual"] | None = None
    """The stream's clock: on ``live`` frames may be dropped, on ``virtual`` the sender waits."""
    max_fps: float | None = None
    """Frames a second of stream time that are looked at, at most."""
    gate_threshold: float | None = None
    token_drop: TokenDropName | None = None
    """Which tokens of a clip the model computes, where little of the picture changes."""
    compaction: CompactionName | None = None
    """What stays of clips that have left the recent window."""
    tier: Tier | None = None
    """The tier whose targets hold for the stream's frames, and for questions that choose none."""
    persistent: bool = True
    """Whether the stream outlives the connection that opened it. If not, the server closes it with
    the connection, and its frames are not journaled."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    masks: tuple[Mask, ...] | None = None
    """Parts of the pictures that nobody is to see, beside the server's; None takes those that were
    kept of an earlier stream of this name."""
    keep_for_s: float | None = None
    """Seconds for which anything of the stream is kept, at most those of the server; None as of
    `masks`."""
    zero_wall_s: float | None = None
    """Wall clock (seconds since 1970) of stream time 0, for a recording that was made before, or a
    stream whose sources are to be placed by the clock. A stream that is found again keeps its
    own."""
    nameplate: NameplateChanges = NO_CHANGES
    """What people call the stream and say of it; what is left open stays as it was kept."""


@dataclass(frozen=True, slots=True)
class StreamTerms:
    """How one stream is taken in: its options, with the server's settings where it chose none."""

    stream_id: StreamId
    is_live: bool
    interval_s: float
    """Stream time between two frames that are looked at, at full quality."""
    gate_threshold: float
    tier: Tier | None
    """The tier whose targets hold; None takes the server's default."""
    hold_s: float
    """How long a picture stands for what was there while no other is looked at."""
    zero_wall_s: float | None = None
    """Wall clock of stream time 0, where the stream was given one."""
    token_drop: TokenDropName | None = None
    """The method of token drop; None takes the engine's own."""
    compaction: CompactionName | None = None
    """The method of compaction; None takes the engine's own."""

    @classmethod
    def of(
        cls, stream_id: StreamId, options: StreamOptions, settings: StreamsSection
    ) -> "StreamTerms":
        perception = settings.perception
        threshold = options.gate_threshold
        interval_s = max(perception.clip_interval_s / 2, 1 / (options.max_fps or math.inf))
        return cls(
            stream_id,
            is_live=(options.clock or settings.clock) == "live",
            interval_s=interval_s,
            gate_threshold=perception.gate_threshold if threshold is None else threshold,
            tier=options.tier,
            hold_s=max(perception.hold_s, 2 * interval_s),
            zero_wall_s=options.zero_wall_s,
            token_drop=options.token_drop,
            compaction=options.compaction,
        )


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """A stream's counters at one moment."""

    stream_id: StreamId
    clock: str
    created_wall_s: float
    zero_wall_s: float | None
    """Wall clock of stream time 0, where the stream was given one."""
    metadata: dict[str, str]
    nameplate: Nameplate
    has_reference: bool
    received: int
    kept: int
    skipped: int
    dropped: dict[DropReason, int]
    waiting: int
    """Messages in the mailbox."""
    clips: int
    clips_lost: int
    newest_s: float | None
    """Capture time of the newest frame that came in; None before the first."""
    seen_until_s: float | None
    lag_s: float
    source: str | None
    """The owner of the lease that feeds the stream; None when nobody does."""
    subscribers: int
    questions: int
    """Answers under way."""
    fps: float
    """Messages a second that come in."""
    tier: Tier
    quality_level: int
    """Rung of the quality ladder; 0 is full quality."""
    closed: str | None
    """Why the stream was closed; None while it is open."""
    guarantee: Guarantee = Guarantee.NONE
    """What a frame that is kept now survives."""
    masks: tuple[Mask, ...] = ()
    """The stream's own masks."""
    keep_for_s: float | None = None
    """How long anything of the stream is kept; None: as long as there is room."""
    forgotten_until_s: float | None = None
    """What was captured before this was deleted because it was old; None where nothing was."""
    last_source: SourceStatus | None = None
    """How the source is, or how the last one was; None where there was none yet."""
    trouble: ViewTrouble | None = None
    """What is wrong with the view; None where nothing is, as far as is known."""
    trouble_since_s: float | None = None
    """Stream time at which that was told; None where nothing is wrong."""
