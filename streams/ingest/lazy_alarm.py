"""`LazyAlarm`: an alarm that is nearly always put off or unset before it rings."""

import asyncio
from collections.abc import Callable

from onlooker.core.clock import Clock

EARLY_S = 0.001
"""Timers may be so much early: event loops count milliseconds."""


class LazyAlarm:
    """One alarm, set anew again and again. All calls are made on the event loop.

    A timer that runs is left alone where it does not come too late: when its time has come, it is
    seen whether that was put off meanwhile. So most calls start no timer and end none.

    Args:
        ring: is called when the time has come for which it was set last.
    """

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock, self._ring = clock, ring
        self._due_at_s: float | None = None
        """Clock time at which it rings; None while it is not set."""
        self._timer: asyncio.Future[None] | None = None
        self._timer_at_s = 0.0

    def set(self, after_s: float) -> None:
        """Have it ring in `after_s` seconds, and at no other time."""
        due_at_s = self._due_at_s = self._clock.now_s() + after_s
        if self._timer is None or due_at_s < self._timer_at_s:
            self._start(after_s, due_at_s)

    def unset(self) -> None:
        """Have it not ring."""
        self._due_at_s = None

    def close(self) -> None:
        """Have it not ring, and let go of its timer."""
        self.unset()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self, after_s: float, due_at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at_s = self._clock.alarm(after_s), due_at_s
        self._timer.add_done_callback(self._look)

    def _look(self, timer: "asyncio.Future[None]") -> None:
        if timer is not self._timer:  # another one runs in its place
            return
        self._timer = None
        if self._due_at_s is None:
            return
        left_s = self._due_at_s - self._clock.now_s()
        if left_s > EARLY_S:
            self._start(left_s, self._due_at_s)
        else:
            self._due_at_s = None
            self._ring()
