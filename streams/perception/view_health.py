"""`ViewHealth`: whether a camera still shows what it used to, told without a model.

Once a second it takes the gate's thumbnail and compares it with what it has learned of the view:

    black     nearly nothing but black
    blocked   the edges that used to be there are gone nearly everywhere: a cover, a hand
    frozen    for long no difference at all, of a camera whose pictures always differed a little
    blurred   the large shapes are where they were, and what was fine in them is gone
    moved     there are edges, but not where they used to be, and they do not come back

All but the first compare with the view's own past, so they wait until that has been learned. What
is compared are patterns, not brightness: a night that falls, a lamp that is switched and automatic
exposure scale a pattern and leave it. Nothing is learned from a picture that looks wrong.
"""

import math
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onlooker.core.media import ViewTrouble
from onlooker.streams.config import HealthSection
from onlooker.streams.perception.gate import Thumbnail

Gray = NDArray[np.float32]
"""Brightness of a thumbnail's blocks, 0-255, [rows, columns]."""

LEARN = 1 / 60
"""Weight of the newest picture in what is known of the view: it follows within a minute."""

DARK_DEVIATION = 5.0
"""A picture is black only where its brightness deviates by no more."""

NOISE_WINDOW = 120
"""Pictures over which it is remembered how much one differs from the next."""

MIN_NOISE = 0.03
"""Grain of two pictures, in levels of brightness, below which there is no noise in them."""

REFRESHED = 0.95
"""A source of whose pictures so many have no noise is a shared screen or a drawing: no camera, and
nothing is said of it but that it is black. Of a camera, an encoder that repeats a still picture for
long at least writes it anew every few seconds."""

SAME_SHARE = 0.2
"""Two pictures are the same that differ by no more than this share of the least usual grain."""

MOSTLY = 0.75
"""So many of the pictures of a frozen view are the same: an encoder writes even those anew now and
then, and a little otherwise."""

AWAKE = 3
"""So many pictures in a row that differ are none of a frozen view."""

TILES = 6
"""The view is judged in so many parts across and down."""

MIN_EDGE = 0.6
"""Mean edge of a part, in levels of brightness, below which nothing can be said of it."""

MIN_PARTS = 6
"""Parts with edges that a view must have to be judged by them."""

KEPT_CORRELATION = 0.5
"""A part is as it was whose edges correlate with the learned ones by more."""

ALIKE = 0.7
"""Correlation with the learned picture from which large shapes are where they were."""

STEADY = 0.6
"""Share of the parts that must usually be as they were for a view to have moved: a camera that is
carried about, and video with cuts, have not."""

MOST, FEW = 0.75, 0.2
"""Shares of the parts: so many must have become flat for a view to be blocked, and so many may
still be as they were where it has moved."""


@dataclass(frozen=True, slots=True)
class HealthChange:
    """The view got into trouble, out of it, or from one into another."""

    at_s: float
    """Stream time."""
    trouble: ViewTrouble | None
    """None: it is well."""
    was: ViewTrouble | None


class ViewHealth:
    """Of one stream's source; sees its thumbnails in order of time. Pure."""

    def __init__(self, settings: HealthSection) -> None:
        self._settings = settings
        self.trouble: ViewTrouble | None = None
        """What is wrong; None while nothing is."""
        self._suspected: ViewTrouble | None = None
        self._suspected_s = 0.0
        self._looked_s: float | None = None
        self._before: Gray | None = None
        self._grains: deque[float] = deque(maxlen=NOISE_WINDOW)
        """Of the last pictures, how much most parts differed from the ones before, in which nothing
        moved: what the sensor's noise makes."""
        self._num_frozen = max(1, math.ceil(settings.frozen_s / settings.sample_s))
        self._same: deque[bool] = deque(maxlen=math.ceil(self._num_frozen / MOSTLY))
        """Of the last pictures, whether they were the same as the ones before."""
        self._view: _View | None = None
        self._ranked: list[float] = []
        """The grains in order."""

    def look(self, thumbnail: Thumbnail, at_s: float) -> HealthChange | None:
        """Look at the picture of stream time `at_s`, where that is due; returns what changed."""
        settings = self._settings
        if self._looked_s is not None and 0 <= at_s - self._looked_s < settings.sample_s * 0.99:
            return None
        self._looked_s = at_s
        gray = thumbnail[0].astype(np.float32)
        if min(gray.shape) < 2 * TILES + 2:
            return None  # too small to say anything
        if self._before is not None and self._before.shape != gray.shape:
            self._forget()
        seen = _Seen.of(gray)
        difference = None if self._before is None else np.abs(gray - self._before)
        suspected = self._judge(seen, difference)
        if suspected is None:
            self._learn(seen, difference)
        self._before = gray
        return self._decide(suspected, at_s)

    def begin_source(self) -> None:
        """Another source begins, whose view is another one. What is wrong stands until it is seen
        that it is not."""
        self._forget()

    def _forget(self) -> None:
        self._view = self._before = None
        self._grains.clear()
        self._ranked.clear()
        self._same.clear()

    def _judge(self, seen: "_Seen", difference: Gray | None) -> ViewTrouble | None:
        """What seems to be wrong. `difference`: of each block from what it was before."""
        settings, view = self._settings, self._view
        self._same.append(difference is not None and self._is_same(difference))
        if seen.mean <= settings.black_level and seen.variance <= DARK_DEVIATION**2:
            return ViewTrouble.BLACK
        if self._is_frozen:
            return ViewTrouble.FROZEN
        if view is None or not self._is_warm or self._grain(REFRESHED) < MIN_NOISE:
            return None
        return view.trouble_of(seen, settings, grain=self._grain(REFRESHED))

    @property
    def _is_warm(self) -> bool:
        return len(self._grains) * self._settings.sample_s >= self._settings.warm_up_s

    @property
    def _is_frozen(self) -> bool:
        return sum(self._same) >= self._num_frozen and any(list(self._same)[-AWAKE:])

    def _grain(self, quantile: float) -> float:
        ranked = self._ranked
        return ranked[int(quantile * len(ranked))] if ranked else 0.0

    def _is_same(self, difference: Gray) -> bool:
        """Whether the picture is the one before, of a source whose pictures always differ."""
        if not self._is_warm:
            return False
        usual = self._grain(0.1)
        return usual >= MIN_NOISE and _mean(difference) <= SAME_SHARE * usual

    def _learn(self, seen: "_Seen", difference: Gray | None) -> None:
        if difference is not None and not self._same[-1]:
            self._note_grain(_median(_row_means(_in_parts(difference))))
        if self._view is None:
            self._view = _View(seen)
        else:
            self._view.learn(seen, grain=self._grain(REFRESHED))

    def _note_grain(self, grain: float) -> None:
        if len(self._grains) == NOISE_WINDOW:
            del self._ranked[bisect_left(self._ranked, self._grains[0])]
        self._grains.append(grain)
        insort(self._ranked, grain)

    def _decide(self, suspected: ViewTrouble | None, at_s: float) -> HealthChange | None:
        """Believe what is suspected once it has been for long enough."""
        if suspected is not self._suspected:
            self._suspected, self._suspected_s = suspected, at_s
        lasts_s = at_s - self._suspected_s
        settings = self._settings
        if suspected is ViewTrouble.MOVED and lasts_s >= settings.relearn_s:
            self._forget()  # it was moved for good, and this is its view now
            suspected = self._suspected = None
            return self._change(None, at_s)
        hold_s = 0.0 if suspected is ViewTrouble.FROZEN else settings.hold_s
        if suspected is self.trouble or lasts_s < hold_s:
            return None
        return self._change(suspected, at_s)

    def _change(self, trouble: ViewTrouble | None, at_s: float) -> HealthChange | None:
        was, self.trouble = self.trouble, trouble
        return None if was is trouble else HealthChange(at_s, trouble, was)


@dataclass(frozen=True, slots=True)
class _Seen:
    """One picture, and what is measured of it."""

    features: Gray
    """What of it is learned, one after the other: the picture and the two below."""
    relief: Gray
    """How much more each block differs from its neighbours than is usual in its part, [parts,
    blocks of a part]."""
    edge_means: Gray
    """Of each part, how much its blocks differ from their neighbours, [parts]."""
    deviations: Gray
    """Of each block's brightness from the mean, [blocks]."""
    mean: float
    variance: float
    fineness: float
    """How much of the contrast is fine: mean square of the Laplacian over the variance."""

    @classmethod
    def of(cls, gray: Gray) -> "_Seen":
        # Whole rows, one after the other, are several times as quick as rows without their ends;
        # so what lies at the ends is computed, makes no sense, and is cut off.
        (height, width), blocks = gray.shape, gray.ravel()
        last = blocks.size - width
        across, down = blocks[1:] - blocks[:-1], blocks[width:] - blocks[:-width]
        laplacian = across[width:last] - across[width - 1 : last - 1]
        laplacian += down[width:]
        laplacian -= down[:-width]
        slopes = np.abs(across[width:last]) + np.abs(down[width:])
        curved, sloped = (each.reshape(height - 2, width)[:, 1:-1] for each in (laplacian, slopes))
        mean = _mean(blocks)
        deviations = blocks - np.float32(mean)
        variance = _mean_square(deviations)
        edges = _in_parts(sloped)
        edge_means = _row_means(edges)
        relief = edges - edge_means[:, None]
        return cls(
            np.concatenate((blocks, relief.ravel(), edge_means)),
            relief,
            edge_means,
            deviations,
            mean,
            variance,
            _mean_square(curved) / (variance + 1.0),
        )


class _View:
    """What a view usually looks like."""

    def __init__(self, first: _Seen) -> None:
        self._num_seen = 1
        self._features = first.features.copy()
        num_blocks, num_parts = first.deviations.size, first.edge_means.size
        self._picture = self._features[:num_blocks]
        self._relief = self._features[num_blocks:-num_parts].reshape(first.relief.shape)
        self._edge_means = self._features[-num_parts:]
        self._fineness = first.fineness
        self._steadiness = 1.0
        """The share of its parts that usually are as they were."""
        self._kept_of: tuple[_Seen, NDArray[np.bool_]] | None = None

    def learn(self, seen: _Seen, *, grain: float) -> None:
        """`grain`: the mean difference of two blocks that the sensor's noise makes; an edge has
        two of them."""
        self._num_seen += 1
        weight = max(LEARN, 1 / self._num_seen)
        parts = self._edge_means - 2 * grain >= MIN_EDGE
        if np.count_nonzero(parts) >= MIN_PARTS:
            kept = _share(self._is_kept(seen)[parts])
            self._steadiness += weight * (kept - self._steadiness)
        newer = seen.features - self._features
        newer *= weight
        self._features += newer
        self._kept_of = None
        self._fineness += weight * (seen.fineness - self._fineness)

    def trouble_of(
        self, seen: _Seen, settings: HealthSection, *, grain: float
    ) -> ViewTrouble | None:
        """What is wrong with a picture of the view; None where nothing is, or cannot be said."""
        usual = self._edge_means - 2 * grain
        parts = usual >= MIN_EDGE
        if np.count_nonzero(parts) < MIN_PARTS:
            return None
        is_alike = _correlation(seen, self._picture) >= ALIKE
        if is_alike and seen.fineness < settings.blurred_ratio * self._fineness:
            return ViewTrouble.BLURRED
        is_kept = self._is_kept(seen)[parts]
        edges = seen.edge_means[parts] - 2 * grain
        is_flat = edges < settings.blocked_ratio * usual[parts]
        if _share(is_flat & ~is_kept) >= MOST:
            return ViewTrouble.BLOCKED
        if (
            not is_alike
            and self._steadiness >= STEADY
            and _share(is_kept) <= FEW
            and _share(~is_kept & ~is_flat) >= settings.moved_ratio
        ):
            return ViewTrouble.MOVED
        return None

    def _is_kept(self, seen: _Seen) -> NDArray[np.bool_]:
        """Of each part, whether its edges are where they usually are, however strong. Asked twice
        of a picture that looks well."""
        if self._kept_of is None or self._kept_of[0] is not seen:
            one, other = seen.relief, self._relief
            shared, first, second = (
                np.einsum("ij,ij->i", left, right)
                for left, right in ((one, other), (one, one), (other, other))
            )
            self._kept_of = seen, shared > KEPT_CORRELATION * np.sqrt(first * second)
        return self._kept_of[1]


def _in_parts(edges: Gray) -> Gray:
    """Blocks by the part of the view to which they belong; what does not fill a part is left
    out."""
    rows, columns = edges.shape[0] // TILES, edges.shape[1] // TILES
    tiles = edges[: rows * TILES, : columns * TILES].reshape(TILES, rows, TILES, columns)
    return tiles.transpose(0, 2, 1, 3).reshape(TILES * TILES, -1)


def _correlation(seen: _Seen, picture: Gray) -> float:
    """Pearson's, -1 to 1, of a picture and what is known of it; 0 where either is flat."""
    deviations = picture - np.float32(_mean(picture))
    scale = math.sqrt(seen.variance * _mean_square(deviations))
    return float(seen.deviations @ deviations) / picture.size / scale if scale > 0 else 0.0


# numpy's own means take several times as long for arrays as small as these, and every stream has
# its view judged once a second.


def _mean(values: Gray) -> float:
    return float(np.add.reduce(values, axis=None)) / values.size


def _mean_square(values: Gray) -> float:
    return float(np.vdot(values, values)) / values.size


def _row_means(values: Gray) -> Gray:
    means: Gray = np.add.reduce(values, axis=1) / np.float32(values.shape[1])
    return means


def _share(flags: NDArray[np.bool_]) -> float:
    """The share of those that are set."""
    return float(np.count_nonzero(flags)) / flags.size


def _median(values: Gray) -> float:
    ranked = sorted(values.tolist())
    middle = len(ranked) // 2
    return float(ranked[middle] if len(ranked) % 2 else (ranked[middle - 1] + ranked[middle]) / 2)
