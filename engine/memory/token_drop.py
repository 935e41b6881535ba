"""Token drop: which places of a clip's picture the model computes, chosen from pixels alone.

Each method is a plug-in under its name. ``filled`` and ``shown_again`` are ours; ``dtd`` is
TimeChat-Online's rule. A method sees how a clip looks beside what was shown before (`Glance`) and
says which places are computed. What becomes of the others differs: `TokenDrop.is_filled`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from onlooker.core.settings import Section
from onlooker.engine.memory.mosaic import NOBODY, Glance, Mask

DropName = Literal["off", "filled", "shown_again", "dtd"]

_GOLDEN = 0.6180339887498949
"""Multiples of it, without their whole parts, spread evenly in any number: neighbours are shown
again far from each other, and no column of a grid at once."""


class TokenDropSection(Section):
    """Which tokens of a clip the model computes, where little of the picture changes."""

    method: DropName = "off"
    """``off``: all. ``filled``: only places that changed are computed, and the clip is made whole
    from the keys and values that the other places had before; for any model. ``shown_again``: only
    places that changed, and each place again in turn; clips get smaller, and the model has to find
    in an earlier clip what a later one leaves out. ``dtd``: as TimeChat-Online does it, what
    differs little from the clip before is left out, and never shown again. All but ``off`` and
    ``filled`` change what a model sees in a way that it may have to be trained for: measure first
    (``make bench SCENARIO=tokens``)."""

    threshold: float = Field(default=0.04, ge=0, le=1)
    """The largest difference in any small block of a place, from what was last shown there, that
    counts as no change (0-1). For ``dtd``, the mean difference of the place from the clip before.
    Cameras with much noise need more."""

    again_clips: int | None = Field(default=None, ge=1, le=4096)
    """Each place is computed at least once in so many clips, in turn, changed or not. None: as many
    as the recent window holds for ``filled``, and a quarter of them for ``shown_again``, so that
    every place is in view also where load has made the window small. ``dtd`` has none."""

    newest_whole: bool = True
    """Whether an answer sees the newest clip computed whole, which costs it the tokens of one clip:
    what is asked about now is then seen as it is."""


@dataclass(frozen=True, slots=True)
class DropLimits:
    """What a method goes by beside the pixels."""

    threshold: float
    again_clips: int


Choose = Callable[[Glance, DropLimits], Mask]
"""A function that says which places of a clip are computed."""


@dataclass(frozen=True, slots=True)
class TokenDrop:
    """A method."""

    choose: Choose
    is_filled: bool
    """Whether places that are not computed get the keys and values that they had before, so that
    the clip stays whole; else the clip is kept without them."""
    window_share: float
    """`TokenDropSection.again_clips` where it is not set, as a share of the recent window."""

    def mask(self, glance: Glance, settings: TokenDropSection, recent_clips: int) -> Mask:
        """Which places of a clip are computed: one at least."""
        again = settings.again_clips or max(1, int(recent_clips * self.window_share))
        found = self.choose(glance, DropLimits(settings.threshold, again))
        if not found.any():
            found[np.argmax(glance.changes)] = True
        return found


def _changed_or_due(glance: Glance, limits: DropLimits) -> Mask:
    """Places that changed, and those whose turn it is to be shown again."""
    count = limits.again_clips
    turns = (np.arange(len(glance.changes)) * _GOLDEN % 1 * count).astype(np.int64)
    is_due = turns == glance.clip_index % count
    is_old = glance.clip_index - glance.origins >= count
    due: Mask = (glance.changes > limits.threshold) | is_due | is_old | (glance.origins == NOBODY)
    return due


def _unlike_the_clip_before(glance: Glance, limits: DropLimits) -> Mask:
    """Places whose mean difference from the clip before is not below the threshold."""
    unlike: Mask = (glance.steps >= limits.threshold) | (glance.origins == NOBODY)
    return unlike


DROPS: Mapping[DropName, TokenDrop] = {
    "filled": TokenDrop(_changed_or_due, is_filled=True, window_share=1.0),
    "shown_again": TokenDrop(_changed_or_due, is_filled=False, window_share=0.25),
    "dtd": TokenDrop(_unlike_the_clip_before, is_filled=False, window_share=1.0),
}
"""The methods, by name; what is not here drops nothing."""
