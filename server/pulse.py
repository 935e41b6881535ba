"""`Pulse`: one timer for what all connections do again and again."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

NUM_GROUPS = 25
"""Members are called in so many groups, one after the other and evenly spread over the interval, so
that a thousand of them do not hold up the event loop at once."""

Beat = Callable[[], None]


class Pulse:
    """Calls each of its members once in `interval_s`. A timer of its own for each connection would
    cost more than what is done then. Runs only while there are members.

    Members raise nothing: a connection's failure is its own.
    """

    def __init__(self, interval_s: float) -> None:
        self._step_s = interval_s / NUM_GROUPS
        self._groups: tuple[list[Beat], ...] = tuple([] for _ in range(NUM_GROUPS))
        self._next_index = 0
        self._num_members = 0
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def joined(self, beat: Beat) -> Iterator[None]:
        """Have `beat` called while the block runs; on the event loop."""
        group = min(self._groups, key=len)
        group.append(beat)
        self._num_members += 1
        if self._timer is None:
            self._set_timer()
        try:
            yield
        finally:
            group.remove(beat)
            self._num_members -= 1
            if not self._num_members and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _set_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._step_s, self._step)

    def _step(self) -> None:
        group = self._groups[self._next_index]
        self._next_index = (self._next_index + 1) % NUM_GROUPS
        self._set_timer()
        for beat in tuple(group):
            beat()
