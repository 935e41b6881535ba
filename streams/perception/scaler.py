"""`Scaler`: brings decoded frames to a size, as RGB, the cheap way."""

import math
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from onlooker.core.media import Pixels
from onlooker.core.orientation import Orientation
from onlooker.streams.perception.gate import Thumbnail, thumbnail_shape

_METHOD = Interpolation.AREA | Interpolation.FULL_CHR_H_INT
"""Area averages (linear where it grows), with colours of its own for every pixel."""

_SHARED_COLOURS = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "nv12"})
"""Formats in which two pixels side by side have one colour: those of nearly all cameras."""


class Scaler:
    """Scales one frame after the other, by area averages, on one thread at a time. Who has many of
    one kind keeps it: it need not be made ready for each.

    libswscale brings brightness and colour to a size, and turns the two into RGB, a whole row at a
    time; in one step it would do the second pixel by pixel, which takes three times as long. Where
    two pixels of the frame share a colour, two of the result do.
    """

    def __init__(self) -> None:
        self._shrink, self._weave = VideoReformatter(), VideoReformatter()
        self._reduce = VideoReformatter()

    def rgb(self, frame: VideoFrame, width: int, height: int) -> Pixels:
        """The frame's pixels at `width` x `height`."""
        planes = self._shrink.reformat(
            frame,
            width,
            height,
            "yuv422p" if frame.format.name in _SHARED_COLOURS else "gbrp",
            interpolation=_METHOD,
            threads=1,
        )
        woven = self._weave.reformat(planes, width, height, "rgb24", threads=1)
        return _pixels_of(woven)

    def upright_thumbnail(
        self, frame: VideoFrame, orientation: Orientation, width: int, height: int
    ) -> Thumbnail:
        """The thumbnail that a gate sees of a frame that is turned upright and brought to `width` x
        `height`, from the frame itself: a fifth of the work of making it from the pixels, from
        which it differs by rounding."""
        if orientation.is_transposed:
            width, height = height, width
        _, rows, columns = thumbnail_shape(width, height)
        small = self._reduce.reformat(
            frame, columns, rows, "yuvj444p", interpolation=_METHOD, threads=1
        )
        lying = np.asarray(small.to_ndarray(), dtype=np.uint8).transpose(1, 2, 0)
        return np.ascontiguousarray(orientation.upright(lying).transpose(2, 0, 1))


def _pixels_of(frame: VideoFrame) -> Pixels:
    """The pixels of an RGB frame that nobody else has: where they lie, if nothing lies between
    their rows."""
    plane: Any = frame.planes[0]  # a buffer, which its types do not say
    if plane.line_size != 3 * frame.width:
        return np.asarray(frame.to_ndarray(), dtype=np.uint8)
    rows = (frame.height, frame.width, 3)
    lying: Pixels = np.frombuffer(plane, np.uint8, math.prod(rows))
    return lying.reshape(rows)
