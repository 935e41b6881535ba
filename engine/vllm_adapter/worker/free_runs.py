"""`FreeRuns`: which parts of a piece of memory are free."""

import threading
from bisect import insort
from collections import deque


class FreeRuns:
    """Gives runs of numbers from `first` on away and takes them back. Any thread may do both.

    A run may come back whenever Python collects garbage, also while this very thread holds the
    lock. So it is only laid down then, and taken in by whoever asks next.
    """

    def __init__(self, first: int, count: int) -> None:
        self._lock = threading.Lock()
        self._free = [(first, count)] if count else []
        """Free runs, (first number, count), ascending, no two of which touch."""
        self._returned: deque[tuple[int, int]] = deque()
        """Runs that came back and are not yet among the free ones."""

    @property
    def num_free(self) -> int:
        with self._lock:
            self._take_in()
            return sum(count for _, count in self._free)

    def take(self, count: int) -> int | None:
        """The first number of a run of `count` that nobody else has; None where there is none."""
        with self._lock:
            self._take_in()
            for place, (first, size) in enumerate(self._free):
                if size >= count:
                    self._free[place : place + 1] = (
                        [(first + count, size - count)] if size > count else []
                    )
                    return first
        return None

    def let_go(self, first: int, count: int) -> None:
        """Take a run back."""
        self._returned.append((first, count))

    def _take_in(self) -> None:
        """Have what came back be free."""
        if not self._returned:
            return
        while self._returned:
            insort(self._free, self._returned.popleft())
        joined: list[tuple[int, int]] = []
        for begin, size in self._free:
            if joined and sum(joined[-1]) == begin:
                joined[-1] = (joined[-1][0], joined[-1][1] + size)
            else:
                joined.append((begin, size))
        self._free = joined
