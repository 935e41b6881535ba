"""`LiveTime`: the time of a live source, which is real time.

A camera's own time is smoother than the arrival of its pictures, so it is followed for as long as
it keeps step with the clock. FFmpeg invents it where there is none, and cameras' clocks run off,
wrap and are set: where the two drift apart, arrival wins.
"""

from onlooker.streams.perception.stream_time import Placed, TimeJump

MIN_STEP_S = 0.001
"""Pictures that arrive together are this far apart."""

PERSISTS_S = 2.0
"""How long a source's time must be out of step before it is not followed any more; what was held up
on its way comes in a burst, and is in step again after it."""

MAX_JUMPS, FORGIVEN_S = 3, 60.0
"""A source whose time has jumped more often than this, with less than so many seconds in between,
is not followed any more."""


class LiveTime:
    """The time of one live source since it was opened.

    Args:
        begin_s: stream time of the first picture.
        max_drift_s: how far the source's time and the clock may be apart, in the long run; where
            they are apart by twice as much, it is a jump.
    """

    def __init__(self, *, begin_s: float, max_drift_s: float) -> None:
        self._begin_s, self._max_drift_s = begin_s, max_drift_s
        self._begun_at_s: float | None = None
        self._last_s = begin_s
        self._last_at_s = 0.0
        self._shift_s = 0.0
        self._is_followed = True
        self._drifts_since_s: float | None = None
        self._num_jumps = 0
        self._jumped_at_s = 0.0

    def place(self, time_s: float, *, now_s: float) -> Placed:
        """The place of the next picture: its own time is `time_s`, and it came at clock time
        `now_s`, which never runs back."""
        if self._begun_at_s is None:
            self._begun_at_s, self._last_at_s = now_s, now_s
            self._shift_s = self._begin_s - time_s
            return Placed(self._begin_s)
        elapsed_s, self._last_at_s = now_s - self._last_at_s, now_s
        clock_s = self._begin_s + (now_s - self._begun_at_s)
        own_s = time_s + self._shift_s
        if self._is_followed and self._is_in_step(own_s, own_s - clock_s, now_s):
            self._last_s = own_s
            return Placed(own_s)
        by_s = own_s - self._last_s - elapsed_s
        self._last_s = max(clock_s, self._last_s + max(elapsed_s, MIN_STEP_S))
        if not self._is_followed:
            return Placed(self._last_s)
        self._shift_s = self._last_s - time_s
        return Placed(self._last_s, self._jumped(by_s, own_s - clock_s, now_s))

    def _is_in_step(self, own_s: float, drift_s: float, now_s: float) -> bool:
        """Whether the source's own time can be followed for this picture."""
        if own_s <= self._last_s or abs(drift_s) > 2 * self._max_drift_s:
            return False
        if abs(drift_s) <= self._max_drift_s:
            self._drifts_since_s = None
            return True
        if self._drifts_since_s is None:
            self._drifts_since_s = now_s
        return now_s - self._drifts_since_s < PERSISTS_S

    def _jumped(self, by_s: float, drift_s: float, now_s: float) -> TimeJump:
        """Note that the source's time was not followed; tell what is made of that."""
        if now_s - self._jumped_at_s > FORGIVEN_S:
            self._num_jumps = 0
        self._jumped_at_s = now_s
        self._num_jumps += 1
        drifts = self._drifts_since_s is not None
        self._drifts_since_s = None
        if drifts or self._num_jumps > MAX_JUMPS:
            self._is_followed = False
            return TimeJump("arrival", self._last_s, drift_s)
        return TimeJump("moved", self._last_s, by_s)
