"""The methods of token drop, by name; a new one is a line here.

``filled`` and ``shown_again`` are ours and choose alike; what becomes of the places that are not
computed differs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from onlooker.engine.memory.mosaic import Glance, Mask
from onlooker.engine.memory.published_drops import CurveStream, Dtd, Stc
from onlooker.engine.memory.token_drop import (
    ChangedOrDue,
    Chooser,
    DropLimits,
    TokenDropSection,
)


@dataclass(frozen=True, slots=True)
class TokenDrop:
    """A method."""

    make: Callable[[], Chooser]
    """A function that makes the method's state for one stream."""
    is_filled: bool = False
    """Whether places that are not computed get the keys and values that they had in the clip
    before, so that the clip stays whole; else the clip is kept without them."""
    window_share: float = 1.0
    """`TokenDropSection.again_clips` where it is not set, as a share of the recent window."""

    def mask(
        self, chooser: Chooser, glance: Glance, settings: TokenDropSection, recent_clips: int
    ) -> Mask:
        """Which places of a clip are computed: one at least."""
        again = settings.again_clips or max(1, int(recent_clips * self.window_share))
        anchors = settings.anchor_places if self.is_filled else 0
        found = chooser.choose(glance, DropLimits(settings.threshold, again, anchors))
        if not found.any():
            found[np.argmax(glance.changes)] = True
        return found


DROPS: Mapping[str, TokenDrop] = {
    "filled": TokenDrop(ChangedOrDue, is_filled=True),
    "shown_again": TokenDrop(ChangedOrDue, window_share=0.25),
    "dtd": TokenDrop(Dtd),
    "stc": TokenDrop(Stc),
    "curvestream": TokenDrop(CurveStream),
}
"""What is not here drops nothing."""
