"""`Gatherer`: what is measured for every frame, handed on to the metrics in bulk."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any

MAX_GATHERED = 512
"""So many amounts wait at most; the next is handed on with them."""

HandOn = Callable[[float], None]


class GatheredAmounts:
    """Amounts for one counter or one histogram. They may be noted on any thread."""

    def __init__(self, hand_on: HandOn, *, is_summed: bool) -> None:
        """`is_summed`: whether the sum of amounts says as much as they do one by one."""
        self._hand_on, self._is_summed = hand_on, is_summed
        self._amounts: deque[float] = deque()

    def note(self, amount: float = 1.0) -> None:
        """Gather one."""
        self._amounts.append(amount)
        if len(self._amounts) > MAX_GATHERED:
            self.tell()

    def tell(self) -> None:
        """Hand on what was gathered."""
        amounts = list(self._taken())
        if not self._is_summed:
            for amount in amounts:
                self._hand_on(amount)
        elif amounts:
            self._hand_on(sum(amounts))

    def _taken(self) -> Iterable[float]:
        try:
            while True:  # one by one: another thread may note one, or take some, meanwhile
                yield self._amounts.popleft()
        except IndexError:
            return


class Gatherer:
    """All that is gathered on one server. As a collector of a registry that is asked before the
    metrics are, it sees to it that they are complete whenever somebody reads them.

    To count in a metric takes a lock and some calls; for what is noted several times for each of
    many frames a second, that is a tenth of all the work of the event loop.
    """

    def __init__(self) -> None:
        self._all: dict[Hashable, GatheredAmounts] = {}

    def sum_of(self, key: Hashable, make: Callable[[], HandOn]) -> Callable[..., None]:
        """What notes an amount for a counter. `key` says which; `make` is called for the first of
        this key, and returns what counts in the metric."""
        return self._of(key, make, is_summed=True)

    def each_of(self, key: Hashable, make: Callable[[], HandOn]) -> Callable[..., None]:
        """As `sum_of`, for a histogram."""
        return self._of(key, make, is_summed=False)

    def _of(
        self, key: Hashable, make: Callable[[], HandOn], *, is_summed: bool
    ) -> Callable[..., None]:
        gathered = self._all.get(key)
        if gathered is None:
            gathered = self._all[key] = GatheredAmounts(make(), is_summed=is_summed)
        return gathered.note

    def tell(self) -> None:
        """Hand on all that was gathered."""
        for gathered in list(self._all.values()):
            gathered.tell()

    def collect(self) -> Iterable[Any]:
        """For the registry: there are no metrics here."""
        self.tell()
        return ()
