"""`TokenBucket`: a rate with bursts."""

from onlooker.core.clock import Clock


class TokenBucket:
    """One token for each thing that is let through; starts full.

    Args:
        rate_per_s: tokens that are filled in each second.
        burst: tokens that it holds at most.
        clock: tells how much time has passed between two calls.
    """

    def __init__(self, *, rate_per_s: float, burst: float, clock: Clock) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._clock = clock
        self._level = burst
        self._filled_at_s = clock.now_s()

    def take(self) -> float:
        """Take one token; return the seconds until it was there (0 when it was)."""
        self._fill()
        self._level -= 1
        return max(0.0, -self._level / self._rate_per_s)

    def try_take(self) -> bool:
        """Take one token if there is one; return whether there was."""
        self._fill()
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def adjust(self, *, rate_per_s: float, burst: float) -> None:
        """Fill and hold at another rate from now on."""
        self._fill()
        self._rate_per_s, self._burst = rate_per_s, burst
        self._level = min(self._level, burst)

    def _fill(self) -> None:
        now_s = self._clock.now_s()
        grown = self._level + (now_s - self._filled_at_s) * self._rate_per_s
        self._level = min(self._burst, grown)
        self._filled_at_s = now_s
