"""`Pulse`: one timer for what all connections do again and again."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MAX_STEPS = 25
"""Members are called in at most so many steps, evenly spread over the interval."""

MEMBERS_A_STEP = 16
"""So many members are called at once, while `MAX_STEPS` are enough: more would hold up the event
loop, and fewer would wake it again and again for next to nothing."""

Beat = Callable[[], None]


class Pulse:
    """Calls each of its members once in `interval_s`. A timer of its own for each connection would
    cost more than what is done then. Runs only while there are members.

    Members raise nothing: a connection's failure is its own.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._members: deque[Beat] = deque()
        """Who is called next comes first."""
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def joined(self, beat: Beat) -> Iterator[None]:
        """Have `beat` called while the block runs; on the event loop."""
        self._members.append(beat)
        if self._timer is None:
            self._set_timer()
        try:
            yield
        finally:
            self._members.remove(beat)
            if not self._members and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    @property
    def _num_steps(self) -> int:
        """In how many steps the members are called now."""
        return min(MAX_STEPS, max(1, math.ceil(len(self._members) / MEMBERS_A_STEP)))

    def _set_timer(self) -> None:
        after_s = self._interval_s / self._num_steps
        self._timer = asyncio.get_running_loop().call_later(after_s, self._step)

    def _step(self) -> None:
        self._set_timer()
        members = self._members
        for _ in range(math.ceil(len(members) / self._num_steps)):
            beat = members[0]
            members.rotate(-1)
            beat()
