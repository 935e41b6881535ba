"""Speak where one event ends and another begins: where the picture is no longer what the clips
before it led to expect.

This is the rule of Online-GEBD (Estimator): predict what comes next from what came before, and call
it a boundary when the error of the prediction fails a statistical test against earlier errors.
There a trained network predicts the features of the next frame, and the test is that of a normal
distribution. Here the mean colours of the patches are predicted to go on changing as they did, so
that steady changes, such as dusk, are no boundaries; and the test compares with the median, which
earlier boundaries do not shift. No model is asked.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onlooker.core.media import Clip
from onlooker.watches.triggers.interface import Decision, Rule, Score, Signals, Silent, Speak
from onlooker.watches.triggers.patches import PATCHES_PER_SIDE

MIN_ERROR = 0.01
"""The smallest error of a boundary, as the root mean square over the patches' colours (0-1). A
still picture has it when one of its 144 patches becomes lighter by an eighth of the way to white.
"""

MIN_SPREAD = 0.25
"""How much errors vary at the least, as a share of their median. A few errors may be nearly alike
by chance."""

TREND_WEIGHT = 0.5
"""How much the newest step counts in how the picture is expected to go on, against all earlier
ones."""

_DEVIATIONS_PER_SPREAD = 1.4826
"""The standard deviation of a normal distribution whose median absolute deviation is 1."""

_Colors = NDArray[np.float64]
"""Mean red, green and blue (0-1) of each patch, [rows, columns, 3]."""


class BoundaryTrigger(Rule):
    """Speaks when a clip is less like what was expected than clips usually are.

    Each event has its own usual: after a boundary the earlier errors are forgotten.

    Args:
        deviations: how many standard deviations above the usual error a boundary's is.
        window: how many earlier errors tell what is usual.
        min_history: how many clips of an event it must have seen before it speaks.
        passes_first: whether it speaks on the first clip, whatever that shows. It should where a
            dearer trigger comes after it, which knows nothing yet.
    """

    def __init__(
        self,
        *,
        deviations: float = 4.0,
        window: int = 20,
        min_history: int = 5,
        passes_first: bool = False,
    ) -> None:
        self._deviations = deviations
        self._min_history, self._passes_first = min_history, passes_first
        self._errors: deque[float] = deque(maxlen=window)
        self._before: _Colors | None = None
        self._trend: _Colors = np.zeros(())
        """What is expected to be added to `_before` until the next clip."""

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        is_first = self._before is None
        if self._begins_event(clip) or (is_first and self._passes_first):
            return Speak()
        return Silent(why="unchanged")

    def passed_over(self, clip: Clip) -> None:
        """Go on from what the clip shows. A boundary in it is not told later."""
        self._begins_event(clip)

    def _begins_event(self, clip: Clip) -> bool:
        now, before = _colors(clip), self._before
        self._before = now
        if before is None:
            return False
        step = now - before
        error = float(np.sqrt(np.mean((step - self._trend) ** 2)))
        if len(self._errors) >= self._min_history and error > self._limit():
            self._errors.clear()
            self._trend = np.zeros(())
            return True
        self._errors.append(error)
        self._trend = (1 - TREND_WEIGHT) * self._trend + TREND_WEIGHT * step
        return False

    def _limit(self) -> float:
        """The largest error that passes the test against the earlier ones."""
        errors = np.array(self._errors)
        median = float(np.median(errors))
        spread = _DEVIATIONS_PER_SPREAD * float(np.median(np.abs(errors - median)))
        return max(MIN_ERROR, median + self._deviations * max(spread, MIN_SPREAD * median))


def _colors(clip: Clip) -> _Colors:
    size = (PATCHES_PER_SIDE, PATCHES_PER_SIDE)
    small = Image.fromarray(clip.frames[-1].pixels).resize(size, Image.Resampling.BOX)
    return np.asarray(small) / 255
