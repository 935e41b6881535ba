"""What a clip shows without asking the model, and whether that makes a question worth asking.

A thing cannot have come where its colour has not grown, and a corner in which nothing moved shows
what it showed before. `Sight` is measured once for each clip, for all watches of a stream. The
`SightGate` of a watch compares it with the picture on which the watch's question was last answered,
so that slow changes add up, and a check that was lost is due again. It looks at no clip but this
one and earlier ones.

Neither knows objects. That a thing of a colour has come is seen from the share of the picture that
has the colour, which a thing that only moves does not change.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onlooker.core.media import Clip, Pixels
from onlooker.engine.wording import Needs
from onlooker.watches.triggers.patches import changed_share

HUE_DEGREES = {
    "red": (340, 13),
    "orange": (13, 41),
    "yellow": (41, 80),
    "green": (80, 170),
    "cyan": (170, 195),
    "blue": (195, 255),
    "purple": (255, 310),
    "pink": (310, 340),
}
"""Where the colours of everyday words begin and end on the circle of hues; the end is excluded."""

MIN_SATURATION, MIN_VALUE = 0.43, 0.24
"""Saturation and value (0-1) from which a pixel has a hue worth naming."""

MAX_SIDE = 96
"""The longest side, in pixels, of the pictures that are compared."""

Hues = NDArray[np.float64]
"""Shares of the picture, 0-1, one for each colour of `HUE_DEGREES`, in their order."""

_COLORS = tuple(HUE_DEGREES)


@dataclass(frozen=True, slots=True)
class Look:
    """One frame, made small for comparison."""

    pixels: Pixels
    hues: Hues


@dataclass(frozen=True, slots=True)
class Sight:
    """What a clip shows."""

    looks: tuple[Look, ...]
    """Its frames in time order; a single one where both are the same."""
    is_cut: bool
    """Whether most of the picture differs from the clip before."""


def look_at(clip: Clip) -> tuple[Look, ...]:
    """The frames of `clip`, made small, in time order; a single one where both are the same."""
    first, last = clip.frames
    frames = (last,) if first is last else (first, last)
    return tuple(_look(frame.pixels) for frame in frames)


def colors_in(text: str) -> tuple[str, ...]:
    """The colours that `text` names."""
    return tuple(word for word in re.findall(r"[a-z]+", text.lower()) if word in HUE_DEGREES)


def colors_of(chosen: NDArray[np.bool_]) -> frozenset[str]:
    """The words for some of the colours of `Hues`."""
    return frozenset(color for color, is_one in zip(_COLORS, chosen, strict=True) if is_one)


class SightGate:
    """Says clip by clip whether a watch's question can have a new answer.

    Args:
        needs: what must have changed. A cut always suffices.
        about_event: whether the question asks what has just happened. Each clip is then compared
            with the one before, rather than with the one that was last asked about.
        min_change: share of a region's patches that must differ (0-1).
        min_color: share of the picture that a colour must have gained or lost (0-1).
    """

    def __init__(
        self, needs: Needs, *, about_event: bool, min_change: float, min_color: float
    ) -> None:
        self._needs, self._about_event = needs, about_event
        self._min_change, self._min_color = min_change, min_color
        self._colors = [_COLORS.index(color) for color in colors_in(needs.color or "")]
        self._answered: Look | None = None
        self._shares = np.zeros(len(self._colors))

    def is_open(self, sight: Sight, *, is_on: bool) -> bool:
        """Whether to ask about a clip. `is_on` says whether the last answer was yes.

        A stream's first clip shows no event, and no thing of a colour that it does not have.
        """
        is_first = self._answered is None
        if self._about_event and is_first:
            is_open = False  # nothing was there before it
        elif sight.is_cut and not is_first:
            is_open = True
        else:
            is_open = (
                not self._needs.cut
                and self._has_other_colors(sight.looks, is_on)
                and self._has_other_region(sight.looks)
            )
        if not is_open and (self._about_event or is_first):
            self.note(sight)
        return is_open

    def note(self, sight: Sight) -> None:
        """Remember that the question was answered about this clip."""
        self._answered = sight.looks[-1]
        self._shares = self._answered.hues[self._colors]

    def _has_other_colors(self, looks: Sequence[Look], is_on: bool) -> bool:
        """Whether a colour has changed in the direction that can turn the answer: more of it after
        a no, less of it after a yes. What the next clip is compared with follows the picture in the
        other direction."""
        if not self._colors:
            return True
        shares = np.array([look.hues[self._colors] for look in looks])
        gained = (shares - self._shares).max(axis=0)
        lost = (self._shares - shares).max(axis=0)
        if self._about_event:
            return bool((np.maximum(gained, lost) > self._min_color).any())
        follow = np.maximum if is_on else np.minimum
        self._shares = follow(self._shares, shares[-1])
        return bool(((lost if is_on else gained) > self._min_color).any())

    def _has_other_region(self, looks: Sequence[Look]) -> bool:
        if self._needs.region is None or self._answered is None:
            return True
        before = _cut_out(self._answered.pixels, self._needs.region)
        parts = [_cut_out(look.pixels, self._needs.region) for look in looks]
        return any(
            part.shape != before.shape or changed_share(before, part) > self._min_change
            for part in parts
        )


def _look(pixels: Pixels) -> Look:
    factor = -(-max(pixels.shape[:2]) // MAX_SIDE)
    small = Image.fromarray(pixels)
    if factor > 1:
        small = small.reduce(factor)
    return Look(np.asarray(small), _hues(small))


def _hues(picture: Image.Image) -> Hues:
    hue, saturation, value = np.asarray(picture.convert("HSV")).reshape(-1, 3).T
    is_colored = (saturation > 255 * MIN_SATURATION) & (value > 255 * MIN_VALUE)
    counts = np.bincount(hue[is_colored], minlength=256) / len(hue)
    degrees = np.arange(256) * 360 / 255
    shares = []
    for low, high in HUE_DEGREES.values():
        above, below = degrees >= low, degrees < high
        shares.append(counts[above & below if low < high else above | below].sum())
    return np.array(shares)


def _cut_out(pixels: Pixels, region: tuple[float, float, float, float]) -> Pixels:
    """The part of a picture in `region`, at least one pixel. The region is left, top, right and
    bottom, as shares of the picture (0-1)."""
    height, width = pixels.shape[:2]
    left, top = int(region[0] * width), int(region[1] * height)
    right, bottom = round(region[2] * width), round(region[3] * height)
    return pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
