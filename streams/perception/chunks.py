"""Coded video, one access unit a message: H.264 (Annex B), VP8 and VP9.

Each message builds on those before it, back to the last key frame, so a message that is lost or
broken makes everything up to the next key frame undecodable; there decoding begins anew.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import msgspec
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from onlooker.core.media import Codec, DropReason, EncodedFrame, Pixels
from onlooker.core.orientation import Orientation, Orientations
from onlooker.streams.perception.gate import Resemblance, Thumbnail
from onlooker.streams.perception.keyframes import is_key_frame
from onlooker.streams.perception.parameter_sets import ParameterSets
from onlooker.streams.perception.scaler import Scaler
from onlooker.streams.perception.stills import Undecodable

NAMES = {Codec.H264: "h264", Codec.VP8: "vp8", Codec.VP9: "vp9"}

_TICKS_A_SECOND = 1_000_000
_TICK_S = Fraction(1, _TICKS_A_SECOND)

Wanted = Callable[[float], bool]
"""Whether the picture of a capture time is to be looked at; asked once for each, in order."""

Needed = Callable[[float, Thumbnail], bool]
"""Whether the pixels of a picture that is looked at are needed: of this capture time, and with this
thumbnail; asked once for each, in order."""


class Picture(msgspec.Struct, frozen=True):
    """A picture that came out of a video decoder."""

    capture_s: float
    pixels: Pixels | None
    """None where it was compared with those before it, and is like them."""
    thumbnail: Thumbnail | None = None
    """What a gate sees of it, where the decoder has told; else that is made of the pixels."""
    looks: Resemblance | None = None
    """How it looks beside those before it, where the decoder has told."""

    @property
    def whole(self) -> Pixels:
        """The pixels of a picture that has them."""
        assert self.pixels is not None
        return self.pixels


def all_needed(capture_s: float, seen: Thumbnail) -> bool:
    """As `Needed`, where the pixels of all are."""
    return True


def to_picture(
    capture_s: float,
    frame: VideoFrame,
    orientation: Orientation,
    *,
    width: int,
    height: int,
    max_pixels: int,
    scaler: Scaler,
    is_needed: Needed = all_needed,
) -> Picture:
    """As `to_pixels`, with the thumbnail, and without the pixels where they are not needed."""
    _check_size(frame, max_pixels)
    seen = scaler.upright_thumbnail(frame, orientation, width, height)
    if not is_needed(capture_s, seen):
        return Picture(capture_s, None, seen)
    pixels = to_pixels(
        frame, orientation, width=width, height=height, max_pixels=max_pixels, scaler=scaler
    )
    return Picture(capture_s, pixels, seen)


def to_pixels(
    frame: VideoFrame,
    orientation: Orientation,
    *,
    width: int,
    height: int,
    max_pixels: int,
    scaler: Scaler | None = None,
) -> Pixels:
    """Turn a decoded frame upright and squash it to `width` x `height` RGB, by area averages.
    `scaler`: one that is kept for a source need not be made ready for each of its frames.

    Raises:
        Undecodable: TOO_LARGE when the frame has more than `max_pixels`.
    """
    _check_size(frame, max_pixels)
    if orientation.is_transposed:  # coded on its side
        width, height = height, width
    pixels = (scaler or Scaler()).rgb(frame, width, height)
    return np.ascontiguousarray(orientation.upright(pixels))


def _check_size(frame: VideoFrame, max_pixels: int) -> None:
    if frame.width * frame.height > max_pixels:
        raise Undecodable(DropReason.TOO_LARGE, f"{frame.width} x {frame.height} pixels")


def set_up_decoder(context: VideoCodecContext, *, max_pixels: int) -> None:
    """Make a decoder that was not used yet single-threaded: it holds nothing back, and refuses
    larger pictures unallocated."""
    context.thread_count = 1
    context.options = {"max_pixels": str(max_pixels), "flags": "low_delay"}


def _open_decoder(name: str, *, max_pixels: int) -> VideoCodecContext:
    context = av.CodecContext.create(name, "r")
    assert isinstance(context, VideoCodecContext)
    set_up_decoder(context, max_pixels=max_pixels)
    return context


class ChunkDecoder:
    """Decodes one source's messages, in order, on one thread at a time.

    Args:
        sets: parameter sets of the source, where another decoder had it before and was lost.
    """

    def __init__(
        self, codec: Codec, *, width: int, height: int, max_pixels: int, sets: bytes = b""
    ) -> None:
        self._codec = codec
        self._width, self._height, self._max_pixels = width, height, max_pixels
        self._context: VideoCodecContext | None = None
        """The decoder; None until a key frame comes."""
        self._sets = ParameterSets() if codec is Codec.H264 else None
        if self._sets is not None:
            self._sets.note(sets)
        self._wants_sets = True
        """Whether the decoder has yet to be given the newest parameter sets."""
        self._orientations = Orientations()
        self._scaler = Scaler()

    @property
    def sets(self) -> bytes:
        """The source's newest parameter sets, which another decoder needs to go on; empty where
        there are none."""
        return b"" if self._sets is None else self._sets.before(b"")

    def decode(
        self, message: EncodedFrame, wanted: Wanted, is_needed: Needed = all_needed
    ) -> list[Picture]:
        """The pictures that this message completes, as far as they are wanted. A message of nothing
        but parameter sets completes none, and they are kept for those that follow.

        Raises:
            Undecodable: NO_KEYFRAME, or why the message is broken; begins anew at a key frame.
        """
        payload = message.payload
        if self._sets is not None and self._sets.note(payload):
            self._wants_sets = True
            return []
        if self._context is None:
            if not is_key_frame(self._codec, payload):
                raise Undecodable(DropReason.NO_KEYFRAME, "waiting for a key frame")
            self._context = _open_decoder(NAMES[self._codec], max_pixels=self._max_pixels)
            self._wants_sets = True
        if self._sets is not None and self._wants_sets:
            payload, self._wants_sets = self._sets.before(payload), False
        packet = av.Packet(payload)
        packet.pts = packet.dts = round(message.capture_s * _TICKS_A_SECOND)
        packet.time_base = _TICK_S
        try:
            frames = self._context.decode(packet)
            return list(self._pictures(frames, wanted, is_needed, at_s=message.capture_s))
        except Undecodable:
            self._context = None
            raise
        except Exception as error:  # FFmpeg's errors, and what broken headers do to its wrappers
            self._context = None
            raise Undecodable(DropReason.UNDECODABLE, f"{self._codec.name}: {error}") from error

    def finish(self, wanted: Wanted) -> list[Picture]:
        """End the source; return the wanted pictures that the decoder held back."""
        context, self._context = self._context, None
        if context is None:
            return []
        try:
            return list(self._pictures(context.decode(None), wanted, all_needed, at_s=None))
        except Exception:  # the end of a broken stream is only its end
            return []

    def close(self) -> None:
        """Let go of the decoder."""
        self._context = None

    def _pictures(
        self,
        frames: list[VideoFrame],
        wanted: Wanted,
        is_needed: Needed,
        *,
        at_s: float | None,
    ) -> Iterator[Picture]:
        """The wanted pictures of `frames`; one that has lost its time is that of `at_s`."""
        for frame in frames:
            orientation = self._orientations.of(frame)
            if frame.is_corrupt:
                raise Undecodable(DropReason.UNDECODABLE, "a reference picture is missing")
            capture_s = at_s if frame.pts is None else frame.pts / _TICKS_A_SECOND
            if capture_s is not None and wanted(capture_s):
                yield to_picture(
                    capture_s,
                    frame,
                    orientation,
                    width=self._width,
                    height=self._height,
                    max_pixels=self._max_pixels,
                    scaler=self._scaler,
                    is_needed=is_needed,
                )
