"""`Inquiries`: questions to the store below that may take long, answered beside the steps.

Who asks calls again and again until there is an answer, so that no step waits for a tier.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from onlooker.cache_store.daemon_pool import DaemonPool

_NUM_THREADS = 2

_MAX_KEPT = 64
"""Answers that are kept. One is asked for again where another worker has none yet."""


class Inquiries:
    """See the module."""

    def __init__(self) -> None:
        self._threads = DaemonPool(_NUM_THREADS, name="inquiry")
        self._answers: dict[str, Future[Any]] = {}

    def begin(self, name: str, work: Callable[[], Any]) -> None:
        """Have `work` done in a thread; its result is the answer to the question `name`."""
        self._answers.pop(name, None)
        for old in list(self._answers)[: len(self._answers) + 1 - _MAX_KEPT]:
            del self._answers[old]
        self._answers[name] = self._threads.submit(work)

    def answer(self, name: str) -> Any | None:
        """The answer; None while there is none.

        Raises:
            LookupError: nobody has asked, or too many have asked since.
        """
        if name not in self._answers:
            raise LookupError(f"nothing was asked about {name}, or too much since")
        future = self._answers[name]
        return future.result() if future.done() else None

    def close(self) -> None:
        """Stop working."""
        self._threads.shutdown(wait=False, cancel_futures=True)
