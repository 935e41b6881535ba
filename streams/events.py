"""What happens on a stream, as its viewers are told."""

from dataclasses import dataclass

import msgspec

from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import ResponseId
from onlooker.core.media import DropReason, FrameOutcome, ViewTrouble
from onlooker.engine.interface import FinishReason
from onlooker.streams.lease import SourceChange, SourceStatus
from onlooker.streams.perception.stream_time import TimeJump
from onlooker.watches.events import WatchEvent


class FrameAck(msgspec.Struct, frozen=True):
    """What became of one frame message; every accepted message gets exactly one."""

    sequence: int
    """The number that the sender gave the message."""
    outcome: FrameOutcome
    reason: DropReason | None
    """Why the message was dropped; set exactly when `outcome` is DROPPED."""
    capture_s: float
    guarantee: Guarantee | None = None
    """What the frame survives; set exactly when `outcome` is KEPT."""


class ClipSeen(msgspec.Struct, frozen=True):
    """The model has seen a clip."""

    clip_index: int
    start_s: float
    end_s: float
    lag_s: float
    """Seconds from the arrival of the clip's last frame to the end of its prefill."""


@dataclass(frozen=True, slots=True)
class ClipLost:
    """The engine failed on a clip; the stream goes on without it."""

    clip_index: int
    start_s: float
    end_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class SceneChanged:
    """The picture became another one at once: a cut."""

    at_s: float


@dataclass(frozen=True, slots=True)
class HealthChanged:
    """The camera's view got into trouble, or out of it."""

    at_s: float
    trouble: ViewTrouble | None
    """None: the view is well."""
    was: ViewTrouble | None


@dataclass(frozen=True, slots=True)
class PaceChanged:
    """What the server would like to be sent from now on."""

    fps: float
    width: int
    height: int
    lag_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class SourceChanged:
    """Something happened to the stream's source."""

    state: SourceChange
    """What happened, such as ``lost`` or ``found again``."""
    source: SourceStatus
    """How the source is since then."""

    @property
    def detail(self) -> str:
        """The source and the reason, for people."""
        reason = self.source.reason
        return f"{self.source.owner}: {reason}" if reason else self.source.owner


@dataclass(frozen=True, slots=True)
class TimeJumped:
    """The source's own time did not go on as it was expected to."""

    jump: TimeJump


@dataclass(frozen=True, slots=True)
class MemoryForgotten:
    """A span of the stream's time was deleted on request."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class PrivacyChanged:
    """The stream's masks, or how long it is kept, have changed."""


@dataclass(frozen=True, slots=True)
class NameplateChanged:
    """What people call the stream or say of it, or its reference picture, has changed."""


@dataclass(frozen=True, slots=True)
class AnswerStarted:
    """Somebody asked the stream, and the answer begins."""

    response_id: ResponseId
    asked_s: float


@dataclass(frozen=True, slots=True)
class AnswerFinished:
    """An answer ended, however it ended; comes exactly once after `AnswerStarted`."""

    response_id: ResponseId
    asked_s: float
    finish_reason: FinishReason
    text: str
    """The answer's text, as far as it came."""


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The last event of a stream."""

    reason: str
    is_moved: bool = False
    """Whether the stream goes on at another server."""
    is_kept: bool = False
    """Whether whoever opens it again finds what belongs to it."""


StreamEvent = (
    FrameAck
    | ClipSeen
    | ClipLost
    | SceneChanged
    | HealthChanged
    | PaceChanged
    | SourceChanged
    | TimeJumped
    | MemoryForgotten
    | PrivacyChanged
    | NameplateChanged
    | AnswerStarted
    | AnswerFinished
    | WatchEvent
    | StreamEnded
)
