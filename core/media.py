"""Frames and clips: what travels from a camera to the model.

Encoded frames come in from clients, decoded ones from sources that the server itself opens; a clip
is the unit of memory (one temporal patch of the model: two frames, or one frame repeated).
"""

from enum import IntEnum, StrEnum

import msgspec
import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from onlooker.core.ids import StreamId

Pixels = NDArray[np.uint8]
"""RGB of shape [height, width, 3]."""


class Codec(IntEnum):
    """How a frame's bytes are coded; the numbers are those of the binary wire header."""

    JPEG = 1
    PNG = 2
    WEBP = 3
    H264 = 4
    """Each message is an Annex B access unit; SPS and PPS precede each key frame."""
    VP8 = 5
    VP9 = 6
    WEBM = 7
    """A piece of a WebM stream, as MediaRecorder emits them; pieces come in order."""
    FMP4 = 8
    """A piece of a fragmented MP4 stream; pieces come in order."""

    @property
    def is_still(self) -> bool:
        """Whether each message is a whole picture by itself, so that any of them may be dropped."""
        return self in _STILLS

    @property
    def is_container(self) -> bool:
        """Whether messages are pieces of one byte stream."""
        return self in (Codec.WEBM, Codec.FMP4)


_STILLS = (Codec.JPEG, Codec.PNG, Codec.WEBP)


class EncodedFrame(msgspec.Struct, frozen=True):
    """One frame message as it came in (for a container codec: one piece of the byte stream)."""

    sequence: int
    """The sender's number for it, echoed in acknowledgements."""
    capture_s: float
    """Stream time of capture in seconds (for a container piece: of its first byte)."""
    codec: Codec
    payload: bytes
    received_at_s: float
    """Clock time of arrival, for lag."""

    @property
    def is_still(self) -> bool:
        """Whether it is a whole picture by itself, so that it may be dropped without harm."""
        return self.codec in _STILLS  # asked some seven times for each message

    @property
    def num_bytes(self) -> int:
        """Room that it takes while it waits."""
        return len(self.payload)


class Frame(msgspec.Struct, frozen=True):
    """One decoded picture."""

    sequence: int
    capture_s: float
    received_at_s: float
    pixels: Pixels

    @property
    def is_still(self) -> bool:
        """As of `EncodedFrame`: always."""
        return True

    @property
    def num_bytes(self) -> int:
        """Room that it takes while it waits."""
        return self.pixels.nbytes


FrameMessage = EncodedFrame | Frame
"""What a source may feed a stream with: bytes to decode, or pixels of the engine's size."""


class ViewTrouble(StrEnum):
    """What is wrong with a camera's view, as its pictures tell."""

    BLACK = "black"
    BLOCKED = "blocked"
    FROZEN = "frozen"
    BLURRED = "blurred"
    MOVED = "moved"


class Clip(msgspec.Struct, frozen=True):
    """The frames of one temporal patch: the unit of ingest and memory."""

    stream_id: StreamId
    clip_index: int
    """Zero-based position among the stream's clips; never reused."""
    frames: tuple[Frame, Frame]
    """In time order; the same frame twice where there was only one."""
    before_until_s: float | None = None
    """Stream time up to which the clip before this one stands for what was there, see `Cover`;
    None: up to where this clip starts."""
    cover_until_s: float | None = None
    """Stream time up to which this clip itself stands, where that is known already, as of one that
    is shown again; None: up to its end, until more is told."""
    trouble: ViewTrouble | None = None
    """What was wrong with the view when the clip was made; None where nothing was, as far as is
    known."""

    @property
    def start_s(self) -> float:
        """Stream time of the first frame."""
        return self.frames[0].capture_s

    @property
    def end_s(self) -> float:
        """Stream time of the last frame; nothing later may show in the clip."""
        return self.frames[1].capture_s

    @property
    def stamp_s(self) -> float:
        """The time the model is told: the mean of the two capture times, as Qwen3-VL does."""
        return (self.start_s + self.end_s) / 2

    def until(self, at_s: float) -> "Clip | None":
        """The part of this clip that was captured by `at_s`: all of it, its first frame repeated,
        or None."""
        if self.end_s <= at_s:
            return self
        if self.start_s <= at_s:
            return structs.replace(self, frames=(self.frames[0], self.frames[0]))
        return None


class Cover(msgspec.Struct, frozen=True):
    """How long a clip stands for what was there: as long as pictures were looked at and were nearly
    the same as its own. It stands from its first frame on."""

    clip_index: int
    until_s: float
    """Stream time at which it ends; what was there then is not known any more, or belongs to the
    next clip."""


class FrameOutcome(StrEnum):
    """What became of a frame. Every frame that was accepted gets exactly one."""

    KEPT = "kept"
    SKIPPED = "skipped"
    """It was not needed: it is nearly the same as the last kept frame, or lies between the moments
    that clips are made of."""
    DROPPED = "dropped"
    """It was lost on purpose; the reason is told and counted."""


class DropReason(StrEnum):
    """Why a frame was dropped."""

    MAILBOX_FULL = "mailbox_full"
    """A newer frame took its place before it could be decoded."""
    RATE_LIMIT = "rate_limit"
    """There were more frames a second than the stream may send."""
    TENANT_FPS = "tenant_fps"
    """There were more frames a second than the streams of its tenant may send together."""
    TENANT_MEMORY = "tenant_memory"
    """The tenant has as much stored as it may: nothing more of its streams is remembered."""
    OVERLOAD = "overload"
    """It was left out at the present quality of the stream, to carry the load."""
    LATE = "late"
    """It was captured before a frame that was already kept, or is older than the lag limit."""
    UNDECODABLE = "undecodable"
    TOO_LARGE = "too_large"
    TOO_COSTLY = "too_costly"
    """Decoding it takes more processor time than one message may, or its sender did so before."""
    NO_KEYFRAME = "no_keyframe"
    """It builds on a frame that was never received."""
    FORGOTTEN = "forgotten"
    """Its time was deleted while it was on its way."""
    STREAM_CLOSED = "stream_closed"
