"""From one stream's messages to its clips: have them decoded, pick, compare, pair.

One `Perceiver` belongs to one stream and is called by one thread at a time, in message order: by
the event loop where that is soon done, and else by another. What goes wrong with a message is an
outcome, never an exception.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from msgspec import structs

from onlooker.core.media import (
    Clip,
    Codec,
    Cover,
    DropReason,
    EncodedFrame,
    Frame,
    FrameMessage,
    FrameOutcome,
)
from onlooker.streams.config import StreamsSection
from onlooker.streams.perception.chunks import Picture
from onlooker.streams.perception.clips import ClipBuilder
from onlooker.streams.perception.decoders import Decoders, LentPicture, Shape, VideoDecoder
from onlooker.streams.perception.gate import (
    Before,
    Comparison,
    Gate,
    LeastNews,
    Resemblance,
    resemblance,
)
from onlooker.streams.perception.pacing import Pacing
from onlooker.streams.perception.picker import Picker
from onlooker.streams.perception.sampler import Sampler
from onlooker.streams.perception.stills import Undecodable
from onlooker.streams.perception.stream_time import TimeJump
from onlooker.streams.perception.view_health import HealthChange, ViewHealth
from onlooker.streams.privacy import StreamPrivacy
from onlooker.streams.state import StreamTerms


class KeptFrame(msgspec.Struct, frozen=True):
    """A frame that became part of a clip."""

    frame: Frame
    clip_index: int
    is_last: bool
    """Whether the clip is whole with this frame."""
    is_masked: bool = False
    """Whether the frame is not as it came: masks were painted over it."""


class Decoded(msgspec.Struct, frozen=True):
    """What came of one message of coded video."""

    found: list[Picture] | Undecodable
    picker: Picker
    """Which of its pictures were wanted, and how its time jumped."""

    @property
    def num_pictures(self) -> int:
        return 0 if isinstance(self.found, Undecodable) else len(self.found)


@dataclass(slots=True)
class Seen:
    """What became of one message."""

    outcome: FrameOutcome = FrameOutcome.SKIPPED
    reason: DropReason | None = None
    detail: str = ""
    """Why the message was dropped, in words for the log."""
    clips: list[Clip] = field(default_factory=list)
    scenes_s: list[float] = field(default_factory=list)
    """Stream times at which a new scene began."""
    kept: list[KeptFrame] = field(default_factory=list)
    jumps: list[TimeJump] = field(default_factory=list)
    """How the source's time jumped."""
    health: list[HealthChange] = field(default_factory=list)
    """How the view got into trouble and out of it."""

    @classmethod
    def lost(cls, error: Undecodable) -> "Seen":
        """Of a message that yields no picture."""
        return cls(FrameOutcome.DROPPED, error.reason, str(error))

    def settle(self) -> None:
        """What was deleted meanwhile counts only where nothing else was kept."""
        if self.reason is DropReason.FORGOTTEN:
            is_kept = self.outcome is FrameOutcome.KEPT
            self.outcome = self.outcome if is_kept else FrameOutcome.DROPPED
            self.reason = None if is_kept else self.reason


class Perceiver:
    """One stream's decoders, gate and clip builder."""

    def __init__(
        self,
        terms: StreamTerms,
        settings: StreamsSection,
        *,
        decoders: Decoders,
        width: int,
        height: int,
        privacy: StreamPrivacy | None = None,
    ) -> None:
        """`width`, `height`: pixels of the frames that are given out. `privacy`: the stream's
        masks, and which times were deleted of it."""
        perception = settings.perception
        self._decoders = decoders
        self._privacy = privacy or StreamPrivacy()
        self._shape = Shape(width, height, settings.max_frame_pixels, settings.max_gap_s)
        self._gate = Gate(
            threshold=terms.gate_threshold,
            cut_threshold=perception.cut_threshold,
            refresh_s=perception.refresh_s,
        )
        self._builder = ClipBuilder(
            terms.stream_id, max_pair_gap_s=perception.max_pair_gap_s, hold_s=terms.hold_s
        )
        self._health = ViewHealth(perception.health) if perception.health.enabled else None
        self._masks = self._privacy.painter
        self._interval_s = terms.interval_s
        self._pacing: Pacing | None = None
        self._sampler = Sampler(terms.interval_s)
        self._decoder: VideoDecoder | None = None
        self._codec: Codec | None = None
        self._last_message: EncodedFrame | None = None
        self._newest_s: float | None = None

    @property
    def expires_s(self) -> float | None:
        """Stream time at which a frame stops waiting for its partner; None when none waits."""
        return self._builder.expires_s

    @property
    def pending(self) -> Clip | None:
        """The frame that waits for its partner, as the clip it would be alone."""
        return self._builder.pending

    @property
    def covers(self) -> tuple[Cover, ...]:
        """How long the newest clips stand for what was there, the pending one among them."""
        return self._builder.covers

    @property
    def newest_s(self) -> float | None:
        """Stream time of the newest picture that was looked at."""
        return self._newest_s

    def resume(
        self,
        next_clip_index: int,
        waiting: Frame | None,
        newest_s: float | None,
        before_until_s: float | None,
    ) -> None:
        """Go on where an earlier perceiver was: its clips so far, the frame that waited for its
        partner, the time up to which it had looked, and where the cover of the clip before
        `waiting` ends."""
        self._builder.resume(next_clip_index, waiting, newest_s, before_until_s)
        self._newest_s = newest_s
        if waiting is not None:  # what follows may be another scene
            self._gate.judge(waiting.pixels, waiting.capture_s)

    def see(self, message: FrameMessage) -> Seen:
        """Take the next message, a picture that was begun (`begin_still`). Decodes, and so blocks
        where it came encoded."""
        seen = Seen()
        try:
            self._look_at(self._still(message), message, seen)
        except Undecodable as error:
            seen = Seen.lost(error)
        return self._settled(seen)

    # ---- coded video

    def decode(
        self,
        message: EncodedFrame,
        tell: Callable[["Decoded"], None],
        *,
        follows_gap: bool,
        is_hurried: bool,
    ) -> None:
        """A message of coded video comes next: have it decoded. On the event loop; never waits.

        Args:
            tell: is called once with what came of it, for `see_decoded`.
            follows_gap: messages of the same byte stream were dropped just before this one.
            is_hurried: the model is behind: decode, but pass the pictures over.
        """
        self._let_go_of_forgotten()
        self._last_message = message
        if self._decoder is None or self._codec is not message.codec:
            self._close_decoder()
            self._codec = message.codec
            self._decoder = self._decoders.open_video(message.codec, self._shape)
        picker = Picker(self._sampler, self._newest_s, is_hurried)
        comparison = None
        if self.is_light:
            comparison = Comparison(self._gate.before, self.least_news(message))
        self._decoder.decode(
            message,
            picker,
            follows_gap=follows_gap,
            tell=lambda found: tell(Decoded(found, picker)),
            comparison=comparison,
        )

    def see_decoded(self, message: EncodedFrame, decoded: "Decoded") -> Seen:
        """Take a message of coded video that was decoded."""
        seen, picker = Seen(), decoded.picker
        if isinstance(decoded.found, Undecodable):
            seen = Seen.lost(decoded.found)
        else:
            for picture in decoded.found:
                if picture.pixels is None:
                    assert picture.looks is not None
                    self._pass_over(picture.capture_s, picture.looks, seen)
                else:
                    self._look_at(picture, message, seen, picture.looks)
        seen.jumps = picker.jumps
        seen = self._settled(seen)
        if picker.num_passed_over:
            seen.outcome, seen.reason = FrameOutcome.DROPPED, DropReason.MAILBOX_FULL
        return seen

    def finish(self, tell: Callable[["Decoded"], None]) -> None:
        """The source has ended: have told what its decoder held back, for `end_source`."""
        picker = Picker(self._sampler, self._newest_s)
        if self._decoder is None:
            tell(Decoded([], picker))
        else:
            self._decoder.finish(picker, lambda found: tell(Decoded(found, picker)))

    def _settled(self, seen: Seen) -> Seen:
        seen.settle()
        seen.clips = [self._with_trouble(clip) for clip in seen.clips]
        return seen

    # ---- stills that are decoded and compared elsewhere

    @property
    def is_light(self) -> bool:
        """Whether to take a still that was compared is next to no work: nothing is painted."""
        return self._privacy.painter.is_idle

    @property
    def shape(self) -> Shape:
        """What pictures are brought to."""
        return self._shape

    @property
    def before(self) -> Before:
        """What the next still is to be compared with."""
        return self._gate.before

    def least_news(self, message: FrameMessage) -> LeastNews:
        """How the still that comes next must look beside what is `before` it for its pixels to be
        needed."""
        at_s = message.capture_s
        is_wanted = self._builder.has_pending or self._builder.is_after_gap(at_s)
        return self._gate.least_news(at_s, is_wanted=is_wanted)

    def begin_still(self, message: FrameMessage) -> None:
        """A still comes next.

        Raises:
            Undecodable: LATE when what was seen is newer.
        """
        self._let_go_of_forgotten()
        self._close_decoder()
        if self._newest_s is not None and message.capture_s <= self._newest_s:
            raise Undecodable(DropReason.LATE, "video that was already seen is newer")

    def see_still(self, message: FrameMessage, still: LentPicture) -> Seen:
        """Take a still that was begun, decoded, and compared with what is `before` it. Returns
        soon, so it may be called on the event loop."""
        seen = Seen()
        if still.pixels is None:
            self._pass_over(message.capture_s, still.resemblance, seen)
        else:
            picture = Picture(message.capture_s, still.pixels)
            self._look_at(picture, message, seen, still.resemblance)
        return self._settled(seen)

    def set_pacing(self, pacing: Pacing) -> None:
        """Pick and pair frames by `pacing` from now on."""
        if pacing is self._pacing:
            return
        self._pacing = pacing
        self._interval_s = pacing.interval_s
        self._sampler.set_interval(pacing.interval_s)
        self._builder.set_pairing(
            max_pair_gap_s=pacing.pair_gap_s, comes_in_twos=pacing.comes_in_twos
        )

    def flush(self) -> list[Clip]:
        """Make a clip of a frame that waits for its partner."""
        return [self._with_trouble(clip) for clip in self._builder.flush()]

    def end_source(self, held_back: "Decoded") -> Seen:
        """Take what was held back of a source that has ended. Another source may follow."""
        seen = Seen()
        if self._last_message is not None and not isinstance(held_back.found, Undecodable):
            for picture in held_back.found:
                self._look_at(picture, self._last_message, seen)
        seen.clips += self._builder.flush()
        self._sampler = Sampler(self._interval_s)
        seen.clips = [self._with_trouble(clip) for clip in seen.clips]
        if self._health is not None:
            self._health.begin_source()
        return seen

    def close(self) -> None:
        """Let go of the decoder, as at the end of a source. On the event loop."""
        self._close_decoder()

    def _with_trouble(self, clip: Clip) -> Clip:
        if self._health is None or self._health.trouble is None:
            return clip
        return structs.replace(clip, trouble=self._health.trouble)

    def _look_after(self, seen: Seen, capture_s: float) -> None:
        """See whether the view is well, of which the gate has just judged a picture."""
        if self._health is None or self._gate.newest is None:
            return
        if self._masks is not self._privacy.painter:
            self._masks = self._privacy.painter
            self._health.begin_source()
        if (change := self._health.look(self._gate.newest, capture_s)) is not None:
            seen.health.append(change)

    def _let_go_of_forgotten(self) -> None:
        """Let go of a frame that waits for its partner and was deleted meanwhile."""
        pending = self._builder.pending
        if pending is not None and self._privacy.forgotten.touch(pending.start_s, pending.end_s):
            self._builder.flush()

    def _still(self, message: FrameMessage) -> Picture:
        if isinstance(message, Frame):
            shape = message.pixels.shape
            if shape != (self._shape.height, self._shape.width, 3):
                raise Undecodable(DropReason.UNDECODABLE, f"pixels of shape {shape}")
            return Picture(message.capture_s, message.pixels)
        pixels = self._decoders.still(message.payload, Codec(message.codec), self._shape)
        return Picture(message.capture_s, pixels)

    def _close_decoder(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def _pass_over(self, capture_s: float, looks: Resemblance, seen: Seen) -> None:
        """A picture is like those before it, as far as it was compared with them."""
        if self._privacy.forgotten.touch(capture_s, capture_s):
            seen.reason = DropReason.FORGOTTEN
            return
        seen.clips += self._builder.pass_time(capture_s)
        self._gate.skip(Resemblance(looks.thumbnail.copy(), looks.difference, looks.change))
        self._look_after(seen, capture_s)
        self._builder.note_looked_at(capture_s)
        self._newest_s = capture_s

    def _look_at(
        self,
        picture: Picture,
        message: FrameMessage,
        seen: Seen,
        looks: Resemblance | None = None,
    ) -> None:
        """Judge a decoded picture; what it completes goes into `seen`. `looks`: how it looks beside
        those before it; then its pixels are lent.

        Every picture of a stream comes by here, wherever it came from, before anything else looks
        at it: masks are painted here.
        """
        capture_s = picture.capture_s
        if self._privacy.forgotten.touch(capture_s, capture_s):
            seen.reason = seen.reason or DropReason.FORGOTTEN
            return
        painter = self._privacy.painter
        pixels = painter.painted(picture.whole)
        seen.clips += self._builder.pass_time(capture_s)
        is_wanted = self._builder.has_pending or self._builder.is_after_gap(capture_s)
        if looks is not None and painter.is_idle:
            # The thumbnail is kept without the pixels before it; the pixels, if they are, with it.
            own = Resemblance(looks.thumbnail.copy(), looks.difference, looks.change)
            verdict = self._gate.judge_by(own, capture_s, is_wanted=is_wanted)
        elif picture.thumbnail is not None and painter.is_idle:
            told = resemblance(picture.thumbnail, self._gate.before)
            verdict = self._gate.judge_by(told, capture_s, is_wanted=is_wanted)
        else:
            verdict = self._gate.judge(pixels, capture_s, is_wanted=is_wanted)
        self._look_after(seen, capture_s)
        if verdict.is_cut:
            seen.scenes_s.append(capture_s)
        if verdict.is_kept:
            frame = Frame(message.sequence, capture_s, message.received_at_s, pixels)
            seen.clips += self._builder.add(frame, is_cut=verdict.is_cut)
            seen.kept.append(
                KeptFrame(
                    frame,
                    self._builder.newest_index,
                    not self._builder.has_pending,
                    is_masked=not painter.is_idle,
                )
            )
            seen.outcome = FrameOutcome.KEPT
        self._builder.note_looked_at(capture_s)
        self._newest_s = capture_s
