"""From one stream's messages to its clips: decode, pick, compare, pair. Runs off the event loop.

One `Perceiver` belongs to one stream and is called by one thread at a time, in message order. What
goes wrong with a message is an outcome, never an exception.
"""

from dataclasses import dataclass, field

from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Codec, DropReason, EncodedFrame, Frame, FrameOutcome
from onlooker.engine.config import EngineSection
from onlooker.engine.perception.clips import ClipBuilder
from onlooker.engine.perception.gate import Gate
from onlooker.engine.perception.stills import Undecodable, decode_still


@dataclass(slots=True)
class Seen:
    """What became of one message."""

    outcome: FrameOutcome = FrameOutcome.SKIPPED
    reason: DropReason | None = None
    detail: str = ""
    """For the log: why it was dropped, in words."""
    clips: list[Clip] = field(default_factory=list)
    newest_s: float | None = None
    """Stream time of the newest picture that was looked at."""


class Perceiver:
    """One stream's decoders, gate and clip builder."""

    def __init__(
        self,
        stream_id: StreamId,
        *,
        settings: EngineSection,
        gate_threshold: float | None,
        sample_interval_s: float,
        width: int,
        height: int,
    ) -> None:
        perception = settings.perception
        self._settings = settings
        self._width, self._height = width, height
        self._gate = Gate(
            threshold=perception.gate_threshold if gate_threshold is None else gate_threshold,
            cut_threshold=perception.cut_threshold,
            refresh_s=perception.refresh_s,
        )
        self._builder = ClipBuilder(stream_id, max_pair_gap_s=perception.max_pair_gap_s)
        self._newest_s: float | None = None

    @property
    def expires_s(self) -> float | None:
        """Stream time at which a frame stops waiting for its partner; None when none waits."""
        return self._builder.expires_s

    @property
    def newest_s(self) -> float | None:
        """Stream time of the newest picture that was looked at."""
        return self._newest_s

    def see(self, message: EncodedFrame, *, follows_gap: bool = False) -> Seen:
        """Take the next message; `follows_gap`: some of its byte stream were dropped before it."""
        try:
            return self._see_still(message)
        except Undecodable as error:
            return Seen(FrameOutcome.DROPPED, error.reason, str(error))

    def pass_time(self, now_s: float) -> list[Clip]:
        """Tell that stream time has come to `now_s` without a frame."""
        return self._builder.pass_time(now_s)

    @property
    def pending(self) -> Clip | None:
        """The frame that waits for its partner, as the clip it would be alone."""
        return self._builder.pending

    def flush(self) -> list[Clip]:
        """Make a clip of a frame that waits for its partner."""
        return self._builder.flush()

    def end_source(self) -> Seen:
        """The source has ended: give out what is held back. Another source may follow."""
        return Seen(clips=self._builder.flush())

    def close(self) -> None:
        """Let go of decoders."""

    def _see_still(self, message: EncodedFrame) -> Seen:
        pixels = decode_still(
            message.payload,
            Codec(message.codec),
            width=self._width,
            height=self._height,
            max_pixels=self._settings.max_frame_pixels,
        )
        frame = Frame(message.sequence, message.capture_s, message.received_at_s, pixels)
        seen = Seen()
        self._look_at(frame, seen)
        return seen

    def _look_at(self, frame: Frame, seen: Seen) -> None:
        """Judge a decoded picture; what it completes goes into `seen`."""
        capture_s = frame.capture_s
        seen.clips += self._builder.pass_time(capture_s)
        verdict = self._gate.judge(
            frame.pixels, capture_s, is_wanted=self._builder.pending is not None
        )
        if verdict.is_kept:
            seen.clips += self._builder.add(frame, is_cut=verdict.is_cut)
            seen.outcome = FrameOutcome.KEPT
        self._builder.note_looked_at(capture_s)
        self._newest_s = seen.newest_s = capture_s
