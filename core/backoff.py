"""`Backoff`: how long to wait before something that failed is tried again."""

from dataclasses import dataclass

_MAX_STEPS = 30
"""Keeps the power finite however often something fails."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that grow with the number of failures in a row."""

    min_s: float
    """After the first failure."""
    max_s: float
    """The longest wait."""
    factor: float = 2.0
    """By how much each wait is longer than the one before."""

    def wait_s(self, num_failures: int) -> float:
        """Seconds to wait after `num_failures` failures in a row, 1 or more."""
        return min(self.max_s, self.min_s * self.factor ** min(num_failures - 1, _MAX_STEPS))
