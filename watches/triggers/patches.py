"""How much of a picture differs from another, patch by patch."""

import numpy as np
from numpy.typing import NDArray

from onlooker.core.media import Pixels

PATCHES_PER_SIDE = 12
"""Patches along each side of a picture, about as many as a small picture has tokens."""

PATCH_THRESHOLD = 0.04
"""Mean difference of brightness and colour (0-1) above which a patch counts as changed."""


def changed_share(before: Pixels, after: Pixels) -> float:
    """Share of the patches (0-1) whose mean |ΔRGB| is above `PATCH_THRESHOLD`. Both pictures are
    uint8 [height, width, 3] and of the same size."""
    return float(changed_patches(before, after).mean())


def changed_patches(before: Pixels, after: Pixels) -> NDArray[np.bool_]:
    """Which of the patches those are, [rows, columns]."""
    difference = np.abs(before.astype(np.int16) - after.astype(np.int16)).mean(axis=2) / 255
    rows, columns = (_edges(size) for size in difference.shape)
    sums = np.add.reduceat(np.add.reduceat(difference, rows, axis=0), columns, axis=1)
    sizes = np.outer(_sizes(rows, difference.shape[0]), _sizes(columns, difference.shape[1]))
    changed: NDArray[np.bool_] = sums / sizes > PATCH_THRESHOLD
    return changed


def _edges(size: int) -> np.ndarray:
    """The pixels at which the patches along a side of `size` pixels begin."""
    count = min(PATCHES_PER_SIDE, size)
    return np.arange(count) * size // count


def _sizes(edges: np.ndarray, size: int) -> np.ndarray:
    return np.diff(np.append(edges, size))
