"""How many and how fast: counted places and token buckets."""

from collections.abc import Iterator
from contextlib import contextmanager

from onlooker.core.clock import Clock
from onlooker.core.errors import Overloaded


class Places:
    """A bounded number of places; who finds none is refused at once."""

    def __init__(self, limit: int, *, what: str, retry_after_s: float = 5.0) -> None:
        self._limit = limit
        self._what = what
        self._retry_after_s = retry_after_s
        self.taken = 0

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold a place while the block runs.

        Raises:
            Overloaded: all are taken.
        """
        if self.taken >= self._limit:
            raise Overloaded(
                f"this server has its {self._limit} {self._what} already; try again later",
                retry_after_s=self._retry_after_s,
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class TokenBucket:
    """A rate with bursts. Starts full."""

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
        """Take one token if there is one."""
        self._fill()
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def _fill(self) -> None:
        now_s = self._clock.now_s()
        grown = self._level + (now_s - self._filled_at_s) * self._rate_per_s
        self._level = min(self._burst, grown)
        self._filled_at_s = now_s
