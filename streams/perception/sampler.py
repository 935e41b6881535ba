"""Which frames are looked at: an even pick by stream time, without looking ahead."""

import math


class Sampler:
    """Picks about one frame every `interval_s`, robust to jitter and to any source rate.

    A virtual schedule (as in rate limiters): each pick moves the next due time on by one interval,
    and a frame may come half an interval early or a whole one late, so that a source at just the
    wanted rate loses nothing to jitter while a faster one is thinned to that rate.

    With `burst` so many frames that follow each other are picked at a time, and then none for as
    many intervals.

    With `phase`, a number of [0, 1), the first pick waits for that part of a period: many samplers
    that begin at once, each with a phase of its own, do not pick at once. Without it the first
    frame is picked.
    """

    def __init__(self, interval_s: float, *, burst: int = 1, phase: float | None = None) -> None:
        self.interval_s = interval_s
        self._burst = burst
        self._phase = phase
        self.due_s: float | None = None
        """Stream time of the next pick; None before the first."""
        self._num_left = 0

    def set_interval(self, interval_s: float) -> None:
        """Pick one frame every `interval_s` from now on."""
        self.interval_s = interval_s

    def pick(self, capture_s: float) -> bool:
        """Whether to look at a frame captured at `capture_s`; times must not run backwards."""
        if self._num_left:
            self._num_left -= 1
            return True
        if self._is_due(capture_s):
            self._num_left = self._burst - 1
            return True
        return False

    def _is_due(self, capture_s: float) -> bool:
        period_s = self.interval_s * self._burst
        if self.due_s is None and self._phase is not None:
            earliest_s = capture_s + self.interval_s / 2  # a frame may come so early
            num_past = math.floor(earliest_s / period_s - self._phase)
            self.due_s = (num_past + 1 + self._phase) * period_s
        if self.due_s is None or capture_s >= self.due_s + period_s:
            self.due_s = capture_s + period_s
            return True
        if capture_s >= self.due_s - self.interval_s / 2:
            self.due_s += period_s
            if self._burst > 1:  # what was missed is not made up for by the next burst at once
                self.due_s = max(self.due_s, capture_s + 0.75 * period_s)
            return True
        return False


class RateMeter:
    """Measures events a second, over the last few seconds."""

    WINDOW_S = 2.0

    def __init__(self) -> None:
        self._started_s: float | None = None
        self._count = 0
        self._last_rate = 0.0

    def note(self, now_s: float) -> None:
        """Count one event at clock time `now_s`."""
        if self._started_s is None:
            self._started_s = now_s
        elif now_s - self._started_s >= self.WINDOW_S:
            self._last_rate = self._count / (now_s - self._started_s)
            self._started_s, self._count = now_s, 0
        self._count += 1

    def rate(self, now_s: float) -> float:
        """Events a second now; falls towards 0 when nothing comes any more."""
        if self._started_s is None:
            return 0.0
        elapsed_s = now_s - self._started_s
        if elapsed_s >= self.WINDOW_S or not self._last_rate:
            return self._count / max(elapsed_s, self.WINDOW_S / 2)
        return self._last_rate

    def settled_rate(self, now_s: float) -> float:
        """Events a second, once a whole window of them has been counted; 0 before."""
        return self.rate(now_s) if self._last_rate else 0.0
