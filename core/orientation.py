"""`Orientation`: how a decoded picture is to be turned and mirrored so that it stands upright.

Phones and cameras code what the sensor sees and add a *display matrix*, which says how to show it.
"""

import struct
from dataclasses import dataclass
from typing import Any

from onlooker.core.media import Pixels

_MATRIX = struct.Struct("=9i")
"""Rows (a, b, u), (c, d, v), (x, y, w): the picture's (p, q) is shown at (ap + cq, bp + dq)."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight ways in which a picture can lie. It is transposed first, then mirrored."""

    is_transposed: bool = False
    """Whether rows become columns, so that width and height change places."""
    is_mirrored: bool = False
    """Whether left and right are exchanged."""
    is_flipped: bool = False
    """Whether top and bottom are exchanged."""

    @classmethod
    def of_matrix(cls, matrix: bytes) -> "Orientation":
        """The orientation that is nearest to an FFmpeg display matrix, whatever it scales by.
        A matrix that makes no sense leaves the picture as it is."""
        if len(matrix) != _MATRIX.size:
            return cls()
        a, b, _, c, d, *_ = _MATRIX.unpack(matrix)
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(is_transposed=True, is_mirrored=c < 0, is_flipped=b < 0)
        return cls(is_mirrored=a < 0, is_flipped=d < 0)

    @classmethod
    def of_rotation(cls, degrees: int) -> "Orientation":
        """The nearest turn to `degrees` counterclockwise."""
        quarters = round(degrees / 90) % 4
        return cls(
            is_transposed=quarters in (1, 3),
            is_mirrored=quarters in (2, 3),
            is_flipped=quarters in (1, 2),
        )

    def upright(self, pixels: Pixels) -> Pixels:
        """The picture as it is to be seen: a view, no copy, of [height, width, 3]."""
        turned = pixels.swapaxes(0, 1) if self.is_transposed else pixels
        if self.is_mirrored:
            turned = turned[:, ::-1]
        return turned[::-1] if self.is_flipped else turned


class Orientations:
    """How the frames of one decoder are to be shown. It must be told of all of them, in order."""

    def __init__(self) -> None:
        self._last = Orientation()

    def of(self, frame: Any, own: Orientation | None = None) -> Orientation:
        """How a frame is to be shown: a ``VideoFrame`` of PyAV, which this room does not load.

        A container says it for each frame. Coded video says it with a key frame, and means those
        that follow as well, up to the next key frame. A JPEG among JPEGs says it for itself:
        `own` is what it says, and holds where it is not None.
        """
        if own is not None:
            self._last = own
            return own
        try:
            matrix = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:
            # PyAV cannot list the side data of a frame that has some of a kind it does not know,
            # such as EXIF. It still tells the turn, but not whether it is mirrored.
            self._last = Orientation.of_rotation(frame.rotation)
            return self._last
        if matrix is not None:
            self._last = Orientation.of_matrix(bytes(matrix))
        elif frame.key_frame:
            self._last = Orientation()
        return self._last
