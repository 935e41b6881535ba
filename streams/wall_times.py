"""`WallTimes`: when, by the wall clock, the times of a stream were."""

from collections.abc import Iterable
from itertools import pairwise

MAX_ANCHORS = 512
"""Pairs of times that are kept; beyond, the oldest go."""

DRIFT_S = 1.0
"""How far a live stream's time may be from what the last pair says before another is noted."""

STEP_S = 30.0
"""Wall time between two pairs of a stream on the virtual clock."""

Anchor = tuple[float, float]
"""A stream time, and the wall time (seconds since 1970) that belongs to it."""


class WallTimes:
    """The wall times of one stream, from pairs of times that rise in both.

    On the live clock a time's wall time is when it was captured, as far as that is known: when its
    frame came in. On the virtual clock, where times pass at any speed, it is when it was taken in.
    """

    def __init__(self, *, is_live: bool, anchors: Iterable[Anchor] = ()) -> None:
        self._is_live = is_live
        self.anchors: tuple[Anchor, ...] = tuple(anchors)
        """The pairs, oldest first."""

    def note(self, stream_s: float, wall_s: float) -> bool:
        """Note when a stream time was; returns whether that was news."""
        if self.anchors:
            last_s, last_wall_s = self.anchors[-1]
            ahead_s = wall_s - last_wall_s
            if self._is_live:
                if abs(ahead_s - (stream_s - last_s)) <= DRIFT_S:
                    return False
            elif ahead_s < STEP_S:
                return False
            if stream_s < last_s or wall_s < last_wall_s:
                return False  # a clock was set back, or a clip came late
        self.anchors = (*self.anchors, (stream_s, wall_s))[-MAX_ANCHORS:]
        return True

    def clear(self) -> None:
        """Forget all pairs: nothing is left of the times that they tell of."""
        self.anchors = ()

    def until(self, wall_s: float) -> float | None:
        """The stream time up to which everything was before `wall_s`; None where nothing is known
        to have been. It may be later than all there is."""
        found: float | None = None
        for (stream_s, at_wall_s), (next_s, _) in pairwise((*self.anchors, _END)):
            if at_wall_s > wall_s:
                break
            if self._is_live:
                found = min(stream_s + (wall_s - at_wall_s), next_s)
            elif wall_s - at_wall_s < STEP_S:
                found = stream_s
            else:  # what came after a pair, and was too close to it for another
                found = next_s
        return found


_END: Anchor = (float("inf"), float("inf"))
