"""`Places`: how many of something there may be at once."""

from collections.abc import Iterator
from contextlib import contextmanager

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
