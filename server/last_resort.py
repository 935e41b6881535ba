"""`LastResort`: ends the process when its orderly end takes longer than was promised."""

import faulthandler
import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from onlooker.core.clock import Clock

_log = logging.getLogger("onlooker.server.last_resort")

EXIT_STUCK = 1
"""Exit status of a process that did not end by itself."""

TELLING_S = 0.3
"""So long before the end the log is told what holds it."""


class LastResort:
    """One for a process, started before anything can go wrong.

    What keeps a process from ending may be the event loop itself, or a thread that Python waits for
    when it exits: those of pools are. So the time is kept by a thread of its own, and should that
    one be kept from running, by one of `faulthandler`, which needs no Python.
    """

    def __init__(
        self,
        clock: Clock,
        waits_for: Callable[[], str],
        *,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        """`waits_for` says what the end is waiting for, in plain words. `leave` is for tests."""
        self._clock, self._waits_for, self._leave = clock, waits_for, leave
        self._orders: SimpleQueue[float] = SimpleQueue()  # may be written to by signal handlers
        self._thread = threading.Thread(target=self._watch, name="last resort", daemon=True)

    def start(self) -> None:
        """Begin to wait for `arm`."""
        self._thread.start()

    def arm(self, limit_s: float) -> None:
        """Let the process live for `limit_s` seconds more, and no longer; of several limits the
        first counts. May be called from a signal handler."""
        self._orders.put(self._clock.now_s() + limit_s)

    def _watch(self) -> None:
        until_s = self._orders.get()
        while True:
            left_s = until_s - self._clock.now_s()
            if left_s > 0:
                faulthandler.dump_traceback_later(left_s, exit=True, file=sys.stderr)
            try:
                until_s = min(until_s, self._orders.get(timeout=max(0.0, left_s - TELLING_S)))
            except Empty:
                break
        threads = [
            thread.name
            for thread in threading.enumerate()
            if not thread.daemon and thread is not threading.main_thread()
        ]
        children = multiprocessing.active_children()
        _log.error(
            "the process did not end in time and is ended now",
            extra={
                "waited_for": self._waits_for(),
                "threads": threads,
                "processes": [child.name for child in children],
            },
        )
        for child in children:
            child.kill()
        self._leave(EXIT_STUCK)
