"""`FreeRuns`: which parts of a piece of memory are free."""

import threading
from bisect import insort


class FreeRuns:
    """Gives runs of numbers from `first` on away and takes them back. Any thread may do both."""

    def __init__(self, first: int, count: int) -> None:
        self._lock = threading.Lock()
        self._free = [(first, count)] if count else []
        """Free runs, (first number, count), ascending, no two of which touch."""

    @property
    def num_free(self) -> int:
        with self._lock:
            return sum(count for _, count in self._free)

    def take(self, count: int) -> int | None:
        """The first number of a run of `count` that nobody else has; None where there is none."""
        with self._lock:
            for place, (first, size) in enumerate(self._free):
                if size >= count:
                    self._free[place : place + 1] = (
                        [(first + count, size - count)] if size > count else []
                    )
                    return first
        return None

    def let_go(self, first: int, count: int) -> None:
        """Take a run back."""
        with self._lock:
            insort(self._free, (first, count))
            joined: list[tuple[int, int]] = []
            for begin, size in self._free:
                if joined and sum(joined[-1]) == begin:
                    joined[-1] = (joined[-1][0], joined[-1][1] + size)
                else:
                    joined.append((begin, size))
            self._free = joined
