"""`WriteBehind`: one thread that does, in order, what a step need not wait for."""

import logging
import queue
import threading
from collections.abc import Callable

_log = logging.getLogger("onlooker.engine.vllm")

_CLOSE_TIMEOUT_S = 10.0


class WriteBehind:
    """See the module. The thread is started by the first job.

    Args:
        max_jobs: the most that waits to be done; whoever brings more waits for room. Each job keeps
            the memory of one segment.
    """

    def __init__(self, max_jobs: int = 256) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(max_jobs)
        self._thread: threading.Thread | None = None
        self.num_waits = 0
        """How often there was no room for a job."""

    def do(self, job: Callable[[], None]) -> None:
        """Have a job done."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="write-behind", daemon=True)
            self._thread.start()
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self.num_waits += 1
            self._jobs.put(job)

    def settle(self) -> None:
        """Wait until all is done that was brought so far."""
        self._jobs.join()

    def close(self) -> None:
        """Do what is left, and end the thread."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(_CLOSE_TIMEOUT_S)
            self._thread = None

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                if job is None:
                    return
                job()
            except Exception as error:
                _log.error("a segment was not handed over to the store", exc_info=error)
            finally:
                job = None  # it holds a segment's memory
                self._jobs.task_done()
