"""`SceneGate`: whether a clip is worth a sentence, seen from its pixels alone.

What only moves on is not: a thing that came, left or took another colour changes how much of the
picture has which colour, and what begins to move, or changes on a sign, changes where nothing near
did in the clip before.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from onlooker.core.media import Clip
from onlooker.watches.triggers.patches import changed_patches
from onlooker.watches.triggers.sight import Look, colors_of, look_at

MIN_COLOR = 0.006
"""Share of the picture that a colour must have gained or lost."""

CUT_SHARE = 0.3
"""Share of the picture's patches that must differ for a scene to begin."""

NEAR_PATCHES = 2
"""How many patches away a change goes on where something moves."""

Patches = NDArray[np.bool_]


class Novelty(Enum):
    """How much is new in a clip."""

    NOTHING = "nothing"
    CHANGE = "change"
    SCENE = "scene"
    """Another picture altogether, or the first."""


def unnamed(color: str) -> str:
    """What a diary says of a colour that came, where the model named nothing that has it."""
    return f"Something {color} appeared"


@dataclass(frozen=True, slots=True)
class News:
    """What a clip has that those before it had not."""

    novelty: Novelty
    colors: frozenset[str] = frozenset()
    """Everyday words for the colours that the picture has more of than before."""


class SceneGate:
    """Looks at the clips of one stream in order."""

    def __init__(self) -> None:
        self._before: Look | None = None
        self._changed: Patches | None = None

    def measure(self, clip: Clip) -> News:
        """What the stream's next clip has that is new."""
        looks = look_at(clip)
        before, self._before = self._before, looks[-1]
        if before is None or before.pixels.shape != looks[-1].pixels.shape:
            self._changed = None
            return News(Novelty.SCENE, colors_of(looks[-1].hues > MIN_COLOR))
        changed = np.any([changed_patches(before.pixels, look.pixels) for look in looks], axis=0)
        near, self._changed = self._changed, changed
        gained = looks[-1].hues - before.hues
        colors = colors_of(gained > MIN_COLOR)
        if changed_patches(before.pixels, looks[-1].pixels).mean() >= CUT_SHARE:
            return News(Novelty.SCENE, colors)
        if np.abs(gained).max() > MIN_COLOR:
            return News(Novelty.CHANGE, colors)
        goes_on = np.zeros_like(changed) if near is None else _grown(near)
        is_change = (changed & ~goes_on).any()
        return News(Novelty.CHANGE if is_change else Novelty.NOTHING)


def _grown(patches: Patches) -> Patches:
    """`patches` with all that are near one."""
    rows, columns = patches.shape
    padded = np.pad(patches, NEAR_PATCHES)
    grown = np.zeros_like(patches)
    for down in range(2 * NEAR_PATCHES + 1):
        for right in range(2 * NEAR_PATCHES + 1):
            grown |= padded[down : down + rows, right : right + columns]
    return grown
