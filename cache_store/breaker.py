"""Keeps a failing or slow service from being asked again and again."""

import threading

from onlooker.core.backoff import Backoff
from onlooker.core.clock import Clock


class CircuitBreaker:
    """Opens after several failures in a row, for a time that doubles up to a limit.

    While it is open nobody asks. When the time is over one caller may try: a success closes it, a
    failure opens it again for longer. Thread-safe.

    Args:
        max_failures: how many failures in a row open it.
        min_backoff_s: how long it stays open the first time.
        max_backoff_s: the longest it stays open.
    """

    def __init__(
        self, *, max_failures: int, min_backoff_s: float, max_backoff_s: float, clock: Clock
    ) -> None:
        self._max_failures = max_failures
        self._backoff = Backoff(min_backoff_s, max_backoff_s)
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._backoff_s = min_backoff_s
        """How long it stays open, the next time or now."""
        self._open_until_s: float | None = None
        self._num_opened = 0
        self._has_given_up = False

    @property
    def has_given_up(self) -> bool:
        """Whether it was opened as asking again soon is pointless, and is open yet."""
        return self._has_given_up and self.is_open()

    @property
    def num_opened(self) -> int:
        """How often it has opened so far."""
        return self._num_opened

    def is_open(self) -> bool:
        """Whether asking is pointless right now. Changes nothing."""
        with self._lock:
            return self._open_until_s is not None and self._clock.now_s() < self._open_until_s

    def try_enter(self) -> bool:
        """Whether the caller may ask; it must then report `succeeded` or `failed`.

        Once the back-off is over one caller gets through; the others are held off for another
        back-off, in which its report will have come.
        """
        with self._lock:
            if self._open_until_s is None:
                return True
            if self._clock.now_s() < self._open_until_s:
                return False
            self._open_until_s = self._clock.now_s() + self._backoff_s
            return True

    def succeeded(self) -> None:
        """Note that the service answered, and close."""
        with self._lock:
            self._failures = 0
            self._backoff_s = self._backoff.min_s
            self._open_until_s = None

    def failed(self) -> None:
        """Note that the service failed or was slow, and open if that was once too often."""
        with self._lock:
            self._failures += 1
            if self._failures < self._max_failures:
                return
            self._open(self._backoff.wait_s(self._failures - self._max_failures + 1))

    def gave_up(self) -> None:
        """Note that asking again soon is pointless, and open for the longest time at once."""
        with self._lock:
            self._failures = self._max_failures
            self._open(self._backoff.max_s)
            self._has_given_up = True

    def _open(self, backoff_s: float) -> None:
        # Never for less than before: it may have been opened for the longest time at once.
        self._backoff_s = max(self._backoff_s, backoff_s)
        self._open_until_s = self._clock.now_s() + self._backoff_s
        self._num_opened += 1
        self._has_given_up = False
