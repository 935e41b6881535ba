"""Token drop as others published it, as far as pixels alone can tell it.

They look at features of the vision tower. Here the length of a prompt must be known before the
tower runs, so that each rule is applied to what stands for the features in pixels: the block means
of a place, or of the whole picture. None is tuned; the parameters are those of the papers.
"""

import math

import numpy as np
from numpy.typing import NDArray

from onlooker.engine.memory.mosaic import NOBODY, Glance, Mask
from onlooker.engine.memory.token_drop import DropLimits

STC_SHARE = 60 / 196
"""Share of the places of a picture that STC keeps."""

_STC_WIDTHS = tuple(2.0**power for power in range(-3, 2))
"""Widths of the Gaussian kernels by which STC tells what is like what."""

CURVE_DEVIATIONS = 1.0
"""How many standard deviations over the mean a picture must turn to be kept clear."""


class Dtd:
    """TimeChat-Online's rule on pixels: what differs little from the clip before is left out."""

    def choose(self, glance: Glance, limits: DropLimits) -> Mask:
        unlike: Mask = (glance.steps >= limits.threshold) | (glance.origins == NOBODY)
        return unlike

    def note(self, glance: Glance) -> None:
        """Nothing beside the clip before is needed."""


class Stc:
    """STC's pruner: a fixed share of each picture, of the places least like the mean of the picture
    and the mean of all pictures before it. Strictly past pictures count, each by its own mean."""

    def __init__(self) -> None:
        self._past: NDArray[np.float32] | None = None
        self._num_past = 0

    def choose(self, glance: Glance, limits: DropLimits) -> Mask:
        features = glance.features
        present = features.mean(0)
        past = present if self._past is None else self._past
        # The channels that vary least within the picture, as published.
        quiet = np.argsort(features.var(0), kind="stable")[: max(1, features.shape[1] // 2)]
        plain = _normalised(features[:, quiet])
        likeness = sum(_likeness(plain, _normalised(mean[None, quiet])) for mean in (present, past))
        kept = np.zeros(len(features), np.bool_)
        count = max(1, math.ceil(len(features) * STC_SHARE))
        kept[np.argsort(likeness, kind="stable")[:count]] = True
        if self._past is None:
            kept[:] = True
        return kept

    def note(self, glance: Glance) -> None:
        """Take the picture into the mean of those that are past."""
        present = glance.features.mean(0)
        self._num_past += 1
        if self._past is None:
            self._past = present
        else:
            self._past = self._past + (present - self._past) / self._num_past


class CurveStream:
    """CurveStream's routing: how sharply the path of pictures turns decides whether a clip is kept
    clear (all places), blurred (every other place) or hardly at all (one place)."""

    def __init__(self) -> None:
        self._path: list[NDArray[np.float32]] = []
        """The newest two pictures, each of length 1."""
        self._count, self._mean, self._spread = 0, 0.0, 0.0
        """Of the curvatures so far: their number, mean, and sum of squared distances from it."""

    def choose(self, glance: Glance, limits: DropLimits) -> Mask:
        num_places = len(glance.changes)
        curvature = self._curvature(glance)
        if curvature is None or self._count < 2:
            return np.ones(num_places, np.bool_)
        deviation = math.sqrt(self._spread / self._count)
        if curvature > self._mean + CURVE_DEVIATIONS * deviation:
            return np.ones(num_places, np.bool_)
        if curvature > self._mean:
            rows, columns = np.divmod(np.arange(num_places), glance.num_columns)
            blurred: Mask = (rows + columns) % 2 == 0
            return blurred
        return np.zeros(num_places, np.bool_)

    def note(self, glance: Glance) -> None:
        """Take the picture onto the path, and its turn into what is usual."""
        curvature = self._curvature(glance)
        if curvature is not None:
            self._count += 1
            before = curvature - self._mean
            self._mean += before / self._count
            self._spread += before * (curvature - self._mean)
        self._path = [*self._path[-1:], _whole(glance)]

    def _curvature(self, glance: Glance) -> float | None:
        """1 minus the cosine of the angle between the newest two steps of the path, 0-2; None where
        there are no two steps yet."""
        if len(self._path) < 2:
            return None
        steps = self._path[1] - self._path[0], _whole(glance) - self._path[1]
        lengths = [float(np.linalg.norm(step)) for step in steps]
        if min(lengths) == 0:
            return 0.0
        return 1 - float(steps[0] @ steps[1]) / (lengths[0] * lengths[1])


def _whole(glance: Glance) -> NDArray[np.float32]:
    """The picture of the clip's last frame as one vector of length 1."""
    rows = glance.blocks[-1].reshape(1, -1).astype(np.float32)
    whole: NDArray[np.float32] = _normalised(rows)[0]
    return whole


def _normalised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    normalised: NDArray[np.float32] = rows / np.maximum(lengths, 1e-6)
    return normalised


def _likeness(rows: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """How like `mean` each of `rows` is, by a sum of Gaussian kernels."""
    apart = np.square(rows - mean).sum(-1)
    found: NDArray[np.float32] = sum(np.exp(-apart / (2 * width)) for width in _STC_WIDTHS)
    return found
