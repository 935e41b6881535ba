"""Token drop: which places of a clip's picture the model computes, chosen from pixels alone.

Each method is a plug-in under its name (`onlooker.engine.memory.drops`). It sees how a clip looks
beside what was shown before (`Glance`) and says which places are computed.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from pydantic import Field

from onlooker.core.protocol.base import TokenDropName
from onlooker.core.settings import Section
from onlooker.engine.memory.mosaic import NOBODY, Glance, Mask

DropName = TokenDropName

_GOLDEN = 0.6180339887498949
"""Multiples of it, without their whole parts, spread evenly in any number: neighbours are shown
again far from each other, and no column of a grid at once."""


class TokenDropSection(Section):
    """Which tokens of a clip the model computes, where little of the picture changes."""

    method: DropName = "off"
    """``off``: all. ``filled``: only places that changed are computed, and the clip is made whole
    from the keys and values that the other places had in the clip before; for any model.
    ``shown_again``: only places that changed, and each place again in turn; clips get smaller, and
    the model has to find in an earlier clip what a later one leaves out. ``dtd``: as
    TimeChat-Online does it, what differs little from the clip before is left out, and never shown
    again. ``stc``: as STC's pruner does it, of each picture the 60 of 196 places least like its
    mean and that of those before. ``curvestream``: as CurveStream routes, clips are whole, blurred
    (every other place) or hardly computed, by how sharply the path of pictures turns; both on
    pixels instead of features. All but ``off`` and ``filled`` change what a model sees in a way
    that it may have to be trained for: measure first (``make bench SCENARIO=tokens``)."""

    under_load: Literal["off", "filled", "shown_again"] = "off"
    """The method for streams that chose none, where `method` is ``off`` and there is too much to
    do: before frames are left out, at rung 3 of the quality ladder and below."""

    threshold: float = Field(default=0.04, ge=0, le=1)
    """The largest difference in any small block of a place, from what was last shown there, that
    counts as no change (0-1). For ``dtd``, the mean difference of the place from the clip before.
    Cameras with much noise need more."""

    again_clips: int | None = Field(default=None, ge=1, le=4096)
    """Each place is computed at least once in so many clips, in turn, changed or not. None: as many
    as the recent window holds for ``filled``, and a quarter of them for ``shown_again``, so that
    every place is in view also where load has made the window small. ``dtd`` has none."""

    anchor_places: int = Field(default=3, ge=0, le=4096)
    """For ``filled``, the least number of places of a clip that are computed though they have not
    changed. What has become of them since the clip before (the time, and what the model has seen)
    is taken to have become of the places that are not computed, too: without any, those go on
    saying that it is as late as when they were computed, and questions about a single second of
    the past are answered worse. Places whose turn it is count."""

    encoder: Literal["all", "kept"] = "all"
    """What the vision tower encodes of a clip. ``all``: the whole picture, so that what is computed
    is exact. ``kept``: only the places that are computed, which then do not see the others: it
    saves most of the time of a clip, and is an approximation. For Qwen3-VL; other families encode
    all."""

    newest_whole: bool = True
    """Whether an answer sees the newest clip computed whole, which costs it the tokens of one clip:
    what is asked about now is then seen as it is."""


@dataclass(frozen=True, slots=True)
class DropLimits:
    """What a method goes by beside the pixels."""

    threshold: float
    again_clips: int
    anchor_places: int = 0


class Chooser(Protocol):
    """A method at work on one stream."""

    def choose(self, glance: Glance, limits: DropLimits) -> Mask:
        """Say which places of a clip are computed. Notes nothing: the clip may be lost."""
        ...

    def note(self, glance: Glance) -> None:
        """Note that the clip was computed and kept."""
        ...


class ChangedOrDue:
    """Places that changed since they were last shown, those whose turn it is, and, where too few of
    these have not changed, the ones that were shown longest ago."""

    def choose(self, glance: Glance, limits: DropLimits) -> Mask:
        count = limits.again_clips
        turns = (np.arange(len(glance.changes)) * _GOLDEN % 1 * count).astype(np.int64)
        is_due = turns == glance.clip_index % count
        is_old = glance.clip_index - glance.origins >= count
        is_new = (glance.changes > limits.threshold) | (glance.origins == NOBODY)
        found: Mask = is_new | is_due | is_old
        num_lacking = limits.anchor_places - np.count_nonzero(found & ~is_new)
        if num_lacking > 0:
            others = np.flatnonzero(~found)
            oldest = np.argsort(glance.origins[others], kind="stable")
            found[others[oldest[:num_lacking]]] = True
        return found

    def note(self, glance: Glance) -> None:
        """What was shown is all that is needed."""
