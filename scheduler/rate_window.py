"""`RateWindow`: no more than so many events in any span of so many seconds."""

from collections import deque


class RateWindow:
    """Remembers when the last events were. Time is an argument, and only grows.

    There is no burst at the border of two windows: the span slides. Memory is one number for each
    event of the last span, which the limit bounds.
    """

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._times_s: deque[float] = deque()

    def wait_s(self, limit: int, now_s: float) -> float:
        """Seconds until one more event would be within the limit; 0 where it is now."""
        self._forget(now_s)
        excess = len(self._times_s) - limit
        if excess < 0:
            return 0.0
        # The sum is rounded: by itself it may come to a little more than the span.
        return min(self._span_s, self._times_s[excess] + self._span_s - now_s)

    def note(self, now_s: float) -> None:
        """Note an event."""
        self._forget(now_s)
        self._times_s.append(now_s)

    def _forget(self, now_s: float) -> None:
        while self._times_s and self._times_s[0] + self._span_s <= now_s:
            self._times_s.popleft()
