"""Near-duplicates and scene cuts, from small thumbnails.

A thumbnail averages blocks of a few pixels, which removes coding and sensor noise but leaves a
small object on a large still background clearly visible in one or two blocks; so the *largest*
block difference decides, not the mean, after the change that the whole picture shares (flicker,
automatic exposure) is taken out. Comparing with the last *kept* frame lets slow changes add up.
"""

import msgspec
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


class Before(msgspec.Struct, frozen=True):
    """What the next picture is compared with; None where there is nothing yet."""

    kept: Thumbnail | None = None
    """The last picture that was kept."""
    previous: Thumbnail | None = None
    """The last picture; often the same object."""


class Resemblance(msgspec.Struct, frozen=True):
    """How a picture looks beside those before it."""

    thumbnail: Thumbnail
    difference: float
    """Largest block difference from the last kept picture, 0-1; 1 where there is none."""
    change: float
    """Mean difference from the last picture, 0-1; 0 where there is none."""


class LeastNews(msgspec.Struct, frozen=True):
    """How a picture must look beside those before it to be kept: one that is like them is skipped,
    and nobody needs its pixels."""

    difference: float = -1.0
    """It is kept if its difference is larger; below 0: whatever it shows."""
    change: float = 0.0
    """It is kept if its change is larger."""

    def reached_by(self, seen: Resemblance) -> bool:
        """Whether a picture that looks like this is kept."""
        return seen.difference > self.difference or seen.change > self.change


class Comparison(msgspec.Struct, frozen=True):
    """What is asked of whoever decodes the next picture of a stream."""

    before: Before
    """What it is to be compared with."""
    least: LeastNews
    """How it must look beside that for its pixels to be needed."""


class GateVerdict(msgspec.Struct, frozen=True):
    is_kept: bool
    is_cut: bool
    """Whether a new scene begins with this frame; a cut is always kept."""
    difference: float
    """Largest block difference from the last kept frame, 0-1."""


def thumbnail_shape(width: int, height: int) -> tuple[int, int, int]:
    """The shape of the thumbnail of a picture of `width` x `height`."""
    factor = _factor(width, height)
    return 3, -(-height // factor), -(-width // factor)


def thumbnail(pixels: Pixels) -> Thumbnail:
    """Block means of a picture."""
    factor = _factor(pixels.shape[1], pixels.shape[0])
    reduced = Image.fromarray(pixels).reduce(factor).convert("YCbCr")
    return np.ascontiguousarray(np.asarray(reduced).transpose(2, 0, 1))


def resemblance(seen: Thumbnail, before: Before) -> Resemblance:
    """How a picture with this thumbnail looks beside those before it: all that a gate must know of
    its pixels."""
    difference, change = 1.0, 0.0
    if before.kept is not None:
        difference = _difference(_added(before.kept, seen))
    if before.previous is not None:
        change = _change(_added(before.previous, seen))
    return Resemblance(seen, difference, change)


class Gate:
    """Decides for each frame in turn whether the model needs it. Its state is two thumbnails."""

    def __init__(self, *, threshold: float, cut_threshold: float, refresh_s: float) -> None:
        self._threshold = threshold
        self._cut_threshold = cut_threshold
        self._refresh_s = refresh_s
        self._kept_s = 0.0
        self.before = Before()
        """What the next frame is compared with."""

    @property
    def newest(self) -> Thumbnail | None:
        """The thumbnail of the picture that was judged last; None before the first."""
        return self.before.previous

    def least_news(self, capture_s: float, *, is_wanted: bool) -> LeastNews:
        """How the next frame must look to be kept, where it is of `capture_s`; see `judge`."""
        is_due = capture_s - self._kept_s >= self._refresh_s
        if is_wanted or is_due or self._threshold == 0:
            return LeastNews()
        return LeastNews(self._threshold, self._cut_threshold)

    def skip(self, seen: Resemblance) -> GateVerdict:
        """Pass over a frame that was found to be like those before it."""
        self.before = Before(self.before.kept, seen.thumbnail)
        return GateVerdict(is_kept=False, is_cut=False, difference=seen.difference)

    def judge(self, pixels: Pixels, capture_s: float, *, is_wanted: bool = False) -> GateVerdict:
        """Judge the next frame. `is_wanted` keeps it whatever it shows (a clip's second frame)."""
        return self.judge_by(
            resemblance(thumbnail(pixels), self.before), capture_s, is_wanted=is_wanted
        )

    def judge_by(
        self, seen: Resemblance, capture_s: float, *, is_wanted: bool = False
    ) -> GateVerdict:
        """Judge the next frame by how it looks beside what was `before` it."""
        is_cut = seen.change > self._cut_threshold
        is_kept = (
            is_cut
            or is_wanted
            or seen.difference > self._threshold
            or self._threshold == 0
            or capture_s - self._kept_s >= self._refresh_s
        )
        if is_kept:
            self._kept_s = capture_s
        kept = seen.thumbnail if is_kept else self.before.kept
        self.before = Before(kept, seen.thumbnail)
        return GateVerdict(is_kept=is_kept, is_cut=is_cut, difference=seen.difference)


def _factor(width: int, height: int) -> int:
    return max(1, min(width, height) // BLOCKS_PER_SIDE)


def _difference(added: NDArray[np.int16]) -> float:
    num_blocks = added.shape[1]
    middle = (num_blocks - 1) // 2, num_blocks // 2
    shared = np.partition(added, middle, axis=1)[:, middle].mean(axis=1)  # the median
    local = np.maximum(added.max(axis=1) - shared, shared - added.min(axis=1))
    return float((np.maximum(local, np.abs(shared) / FLICKER_FACTOR) * _WEIGHTS).max())


def _change(added: NDArray[np.int16]) -> float:
    brightness, *colours = np.abs(added)
    most = np.maximum(brightness, CHROMA_WEIGHT * np.maximum(*colours))
    return float(most.mean()) / 255.0


def _added(before: Thumbnail, after: Thumbnail) -> NDArray[np.int16]:
    """What is added from one thumbnail to the other, [3, blocks]."""
    return np.subtract(after, before, dtype=np.int16).reshape(3, -1)
