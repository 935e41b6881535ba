"""Near-duplicates and scene cuts, from small thumbnails.

A thumbnail averages blocks of a few pixels, which removes coding and sensor noise but leaves a
small object on a large still background clearly visible in one or two blocks; so the *largest*
block difference decides, not the mean, after the change that the whole picture shares (flicker,
automatic exposure) is taken out. Comparing with the last *kept* frame lets slow changes add up.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onlooker.core.media import Pixels

BLOCKS_PER_SIDE = 56
"""About this many blocks along the shorter side: 4x4 pixels each in a 224x224 frame."""

FLICKER_FACTOR = 2.0
"""A brightness shift of the whole picture may be this many times the threshold."""

CHROMA_WEIGHT = 0.7
"""Codecs save on colour, so its noise is larger than that of brightness."""

Thumbnail = NDArray[np.uint8]
"""Block means of brightness and two colour differences, [3, rows, columns]: whole numbers, and each
channel in one piece, since a gate looks at thousands of pictures a second."""

_WEIGHTS = np.array([1.0, CHROMA_WEIGHT, CHROMA_WEIGHT]) / 255.0


@dataclass(frozen=True, slots=True)
class GateVerdict:
    is_kept: bool
    is_cut: bool
    """Whether a new scene begins with this frame; a cut is always kept."""
    difference: float
    """Largest block difference from the last kept frame, 0-1."""


def thumbnail(pixels: Pixels) -> Thumbnail:
    """Block means of a picture."""
    factor = max(1, min(pixels.shape[0], pixels.shape[1]) // BLOCKS_PER_SIDE)
    reduced = Image.fromarray(pixels).reduce(factor).convert("YCbCr")
    return np.ascontiguousarray(np.asarray(reduced).transpose(2, 0, 1))


class Gate:
    """Decides for each frame in turn whether the model needs it. Its state is two thumbnails."""

    def __init__(self, *, threshold: float, cut_threshold: float, refresh_s: float) -> None:
        self._threshold = threshold
        self._cut_threshold = cut_threshold
        self._refresh_s = refresh_s
        self._kept: Thumbnail | None = None
        self._kept_s = 0.0
        self._previous: Thumbnail | None = None

    @property
    def newest(self) -> Thumbnail | None:
        """The thumbnail of the picture that was judged last; None before the first."""
        return self._previous

    def judge(self, pixels: Pixels, capture_s: float, *, is_wanted: bool = False) -> GateVerdict:
        """Judge the next frame. `is_wanted` keeps it whatever it shows (a clip's second frame)."""
        seen = thumbnail(pixels)
        is_cut = self._previous is not None and self._is_cut(self._previous, seen)
        self._previous = seen
        difference = 1.0 if self._kept is None else self._difference(self._kept, seen)
        is_kept = (
            is_cut
            or is_wanted
            or difference > self._threshold
            or self._threshold == 0
            or capture_s - self._kept_s >= self._refresh_s
        )
        if is_kept:
            self._kept, self._kept_s = seen, capture_s
        return GateVerdict(is_kept=is_kept, is_cut=is_cut, difference=difference)

    def _difference(self, kept: Thumbnail, seen: Thumbnail) -> float:
        change = _change(kept, seen)
        num_blocks = change.shape[1]
        middle = (num_blocks - 1) // 2, num_blocks // 2
        shared = np.partition(change, middle, axis=1)[:, middle].mean(axis=1)  # the median
        local = np.maximum(change.max(axis=1) - shared, shared - change.min(axis=1))
        return float((np.maximum(local, np.abs(shared) / FLICKER_FACTOR) * _WEIGHTS).max())

    def _is_cut(self, previous: Thumbnail, seen: Thumbnail) -> bool:
        brightness, *colours = np.abs(_change(previous, seen))
        most = np.maximum(brightness, CHROMA_WEIGHT * np.maximum(*colours))
        return float(most.mean()) > self._cut_threshold * 255.0


def _change(before: Thumbnail, after: Thumbnail) -> NDArray[np.int16]:
    """What is added from one thumbnail to the other, [3, blocks]."""
    return np.subtract(after, before, dtype=np.int16).reshape(3, -1)
