"""Speak when the picture changes more than it usually does.

The idea is the differential token drop of TimeChat-Online, where the token of a patch is dropped
when the patch hardly differs from the same one of the frame before, and frames in which few tokens
are dropped start a new scene. There the frames of a whole video are ranked afterwards. Here nothing
later may count, so the share of patches that changed is compared with a running quantile of the
clips before.
"""

from bisect import bisect_left, insort
from collections import deque

from onlooker.core.media import Clip, Pixels
from onlooker.watches.triggers.interface import Decision, Rule, Score, Signals, Silent, Speak
from onlooker.watches.triggers.patches import changed_share
from onlooker.watches.triggers.sight import Sight, look_at

CUT_CHANGE = 0.5
"""Share of the picture that must differ from the clip before for a new scene to begin."""


class ChangeMeter:
    """Measures the clips of one stream in order, each against the one before."""

    def __init__(self) -> None:
        self._before: Pixels | None = None

    def measure(self, clip: Clip) -> Signals:
        """The signals of the stream's next clip."""
        change = self._change(clip)
        return Signals(change, Sight(look_at(clip), is_cut=change >= CUT_CHANGE))

    def _change(self, clip: Clip) -> float:
        first, newest = (frame.pixels for frame in clip.frames)
        before, self._before = self._before, newest
        if before is None or before.shape != newest.shape:
            return 1.0
        change = changed_share(before, newest)
        if first is newest:
            return change
        # What came and went within the clip counts as well.
        return max(change, changed_share(before, first))


class ChangeTrigger(Rule):
    """Speaks when a clip changed more than most clips before it, and more than the floor.

    Args:
        quantile: the share of earlier changes that must be smaller (0-1). With 0, everything above
            `floor` passes.
        floor: the smallest change that counts, as a share of the picture (0-1).
        window: how many earlier changes the quantile is taken of.
        refractory_s: stream time after speaking in which it stays silent.
        min_history: how many clips it must have seen before it speaks.
        passes_first: whether it speaks on the first clip, whatever that shows. It should where a
            dearer trigger comes after it, which knows nothing yet.
    """

    def __init__(
        self,
        *,
        quantile: float = 0.0,
        floor: float = 0.0,
        window: int = 120,
        refractory_s: float = 0.0,
        min_history: int = 0,
        passes_first: bool = False,
    ) -> None:
        self._quantile, self._floor = quantile, floor
        self._refractory_s = refractory_s
        self._min_history, self._passes_first = min_history, passes_first
        self._order: deque[float] = deque(maxlen=window)
        self._sorted: list[float] = []
        self._spoke_s: float | None = None

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        limit, num_before = max(self._floor, self._limit()), len(self._order)
        self._note(signals.change)
        if not (self._passes_first and num_before == 0) and (
            signals.change <= limit
            or num_before < self._min_history
            or self._is_resting(clip.end_s)
        ):
            return Silent(why="unchanged")
        self._spoke_s = clip.end_s
        return Speak()

    def _limit(self) -> float:
        """The quantile of the earlier changes; 0 while there are none."""
        if not self._sorted or self._quantile <= 0:
            return 0.0
        return self._sorted[min(len(self._sorted) - 1, int(self._quantile * len(self._sorted)))]

    def _note(self, change: float) -> None:
        if len(self._order) == self._order.maxlen:
            self._sorted.pop(bisect_left(self._sorted, self._order[0]))
        self._order.append(change)
        insort(self._sorted, change)

    def _is_resting(self, now_s: float) -> bool:
        return self._spoke_s is not None and now_s - self._spoke_s < self._refractory_s
