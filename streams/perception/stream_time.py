"""`StreamTime`: a source's own time laid out as stream time, for recordings and for what is pushed.

    source   0  1  2  62  63  3663  65  0  1       a hold, a wrong time, a restart
    stream   0  1  2  62  63    64  65 66 67       kept,   moved,        moved

Stream time never runs back. Gaps are kept, since a recording that holds its picture for a minute is
a minute longer. What cannot be true is *moved* behind what came before; should the source's time
come back to where it was, stream time goes with it. Both are told: what jumps is never silent.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

GAP_S = 10.0
"""A step of a source's time that is longer than this, and than a few like that before it, is
told."""

USUAL_STEPS = 4.0
"""How many times as long as the step before it a step is that stands out."""

MAX_LATE = 10
"""So many pictures in a row that are only a little late mean that the source's clock was set
back."""

MIN_STEP_S, DEFAULT_STEP_S, MAX_STEP_S = 0.001, 0.04, 1.0
"""What a picture that is moved follows the last by: as the one before did, within these limits, or
the middle one where there was none."""


@dataclass(frozen=True, slots=True)
class TimeJump:
    """A source's time did not go on as it was expected to."""

    kind: Literal["gap", "moved", "arrival"]
    """``gap``: it went on by much, and this was kept. ``moved``: it could not be true, and was laid
    behind what came before. ``arrival``: it does not keep step with the clock, so that the time of
    arrival counts from now on."""
    at_s: float
    """Stream time of the picture that came with it."""
    by_s: float
    """Seconds that the source's time was ahead of what was expected; negative where it was
    back."""


class Placed(msgspec.Struct, frozen=True):
    """A picture's place in stream time."""

    at_s: float | None
    """Stream time; None when the picture is late: an earlier place than the last one's."""
    jump: TimeJump | None = None


class StreamTime:
    """The time of one source that is not bound to the clock.

    Args:
        max_gap_s: the longest gap that is kept; a time further ahead cannot be true.
        last_s: stream time of the last picture; None where the stream begins with this source.
    """

    def __init__(self, *, max_gap_s: float, last_s: float | None = None) -> None:
        self._max_gap_s = max_gap_s
        self.last_s = last_s
        self.shift_s = 0.0
        """What is added to the source's time."""
        self._begin_s: float | None = None
        self._is_fresh = last_s is None
        self._home_s: float | None = None
        """The shift before the last move; what came with a wrong time may go back to it."""
        self._usual_s = self._usual_excess_s = 0.0
        """The last step that was no jump, and how much of it the clock does not explain."""
        self._num_late = 0

    def begin(self, at_s: float | None = None) -> None:
        """Note that the source begins anew: its time has nothing to do with what it was. The next
        picture is placed at `at_s`; without that, where its own time says."""
        self._begin_s, self._is_fresh = at_s, True

    def resume(self, time_s: float, at_s: float) -> None:
        """Go on where the source's `time_s` was placed at `at_s`."""
        self.shift_s, self.last_s, self._is_fresh = at_s - time_s, at_s, False

    @property
    def next_s(self) -> float:
        """Where the next picture would be at the pace of those before it."""
        step_s = min(max(self._usual_s or DEFAULT_STEP_S, MIN_STEP_S), MAX_STEP_S)
        return (self.last_s or 0.0) + step_s

    def place(
        self,
        time_s: float,
        *,
        late_s: float,
        step_s: float | None = None,
        elapsed_s: float = 0.0,
        may_repeat: bool = False,
    ) -> Placed:
        """The place of the next picture, whose own time is `time_s`.

        Args:
            late_s: a picture that is back by less is late; by more, its clock was set back.
            step_s: what a picture that is moved follows the last by; None: the source's own step.
            elapsed_s: seconds that went by on the clock since the last picture, where the source
                may have been paused meanwhile: so much more is no gap.
            may_repeat: whether several pictures may have the same time.
        """
        if self._is_fresh or self.last_s is None:
            return self._begun(time_s)
        ahead_s = time_s + self.shift_s - self.last_s
        excess_s = ahead_s - elapsed_s
        is_forward = ahead_s > 0 or (may_repeat and ahead_s == 0)
        stands_out = excess_s > max(GAP_S, USUAL_STEPS * self._usual_excess_s)
        if is_forward and not stands_out and not self._is_home_nearer(time_s, ahead_s):
            self._usual_s, self._usual_excess_s = ahead_s or self._usual_s, excess_s
            return self._accepted(time_s)
        if not is_forward and ahead_s > -late_s and self._num_late < MAX_LATE:
            self._num_late += 1
            return Placed(None)
        if self._is_home_near(time_s):
            self._home_s, self.shift_s = self.shift_s, self._home_s or 0.0
        elif not is_forward or excess_s > self._max_gap_s:
            next_s = self.next_s if step_s is None else self.last_s + step_s
            self._home_s, self.shift_s = self.shift_s, next_s - time_s
        else:
            self._usual_s, self._usual_excess_s = ahead_s, excess_s
            return self._accepted(time_s, "gap", excess_s)
        return self._accepted(time_s, "moved", excess_s)

    def _is_home_nearer(self, time_s: float, ahead_s: float) -> bool:
        """Whether an odd step is a usual one from where the source's time was before it was
        moved."""
        usual_s = USUAL_STEPS * self._usual_s
        return self._is_home_near(time_s, usual_s) and usual_s < ahead_s

    def _is_home_near(self, time_s: float, within_s: float = GAP_S) -> bool:
        """Whether the source's time is back where it was before it was moved."""
        assert self.last_s is not None, "what was moved was placed"
        return self._home_s is not None and 0 < time_s + self._home_s - self.last_s <= within_s

    def _begun(self, time_s: float) -> Placed:
        begin_s = time_s if self._begin_s is None else self._begin_s
        self.resume(time_s, begin_s)
        self._begin_s = self._home_s = None
        self._usual_s = self._usual_excess_s = 0.0
        self._num_late = 0
        return Placed(begin_s)

    def _accepted(
        self, time_s: float, kind: Literal["gap", "moved"] | None = None, by_s: float = 0.0
    ) -> Placed:
        at_s = self.last_s = time_s + self.shift_s
        self._num_late = 0
        return Placed(at_s, None if kind is None else TimeJump(kind, at_s, by_s))
