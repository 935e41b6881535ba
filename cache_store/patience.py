"""`Patience`: calls into something that may hang, each with a time limit."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from onlooker.cache_store.daemon_pool import DaemonPool

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Patience:
    """Runs blocking calls in threads of its own and waits for each of them for a limited time.

    While a call is overdue the others are not tried at all: whoever hangs would take one thread
    after the other. They are tried again as soon as the overdue call has ended. Thread-safe.

    Args:
        name: what is called, for the log.
        timeout_s: how long a call is waited for.
        num_threads: how many calls may run at once.
    """

    def __init__(self, name: str, *, timeout_s: float, num_threads: int) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._pool = DaemonPool(num_threads, name=f"patience-{name}")
        self._lock = threading.Lock()
        self._num_overdue = 0
        self._num_given_up = 0

    @property
    def num_given_up(self) -> int:
        """Calls that were not waited for to the end, or not tried, so far."""
        return self._num_given_up

    def call(self, work: Callable[[], T], *, otherwise: T) -> T:
        """What `work` returns, or `otherwise` when it does not return in time. In that case `work`
        goes on, and what it does comes late. Raises what `work` raises."""
        with self._lock:
            if self._num_overdue:
                self._num_given_up += 1
                return otherwise
        future = self._pool.submit(work)
        try:
            return future.result(self._timeout_s)
        except TimeoutError:
            if future.done():  # it is the error of `work`, or its result came just now
                return future.result()
        self._give_up(future)
        return otherwise

    def close(self, timeout_s: float) -> bool:
        """Take no more calls. Returns False when some still run after `timeout_s`."""
        return self._pool.close(timeout_s)

    def _give_up(self, future: "Future[T]") -> None:
        with self._lock:
            self._num_given_up += 1
            if future.cancel():  # it had not even begun
                return
            self._num_overdue += 1
        logger.warning("a call hangs; no others are made until it ends", extra={"to": self._name})
        future.add_done_callback(self._came_late)

    def _came_late(self, future: "Future[T]") -> None:
        with self._lock:
            self._num_overdue -= 1
        logger.warning("a call that hung has ended", extra={"to": self._name})
