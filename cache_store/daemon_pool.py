"""`DaemonPool`: threads for calls that may never return."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Call = Callable[[], None]


class DaemonPool(Executor):
    """As `concurrent.futures.ThreadPoolExecutor`, but a call that hangs does not hold up the end of
    the process. Threads are made as they are needed.

    Args:
        max_threads: how many calls run at once; the others wait for their turn.
    """

    def __init__(self, max_threads: int, *, name: str) -> None:
        self._max_threads = max_threads
        self._name = name
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._futures: set[Future[object]] = set()
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call in one of the threads. Raises RuntimeError after `shutdown`."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # it is raised where the result is asked for
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            self._futures.add(future)  # type: ignore[arg-type]  # a future of anything
            self._calls.put(run)
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._max_threads:
                name = f"{self._name}-{len(self._threads)}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
        future.add_done_callback(self._futures.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; with `wait`, return once all have ended."""
        self._end(cancel_futures=cancel_futures)
        if wait:
            self._join(None)

    def close(self, timeout_s: float) -> bool:
        """Take no more calls, drop those that wait, and wait for those that run. Returns False when
        some still run after `timeout_s`."""
        self._end(cancel_futures=True)
        return self._join(timeout_s)

    def _end(self, *, cancel_futures: bool) -> None:
        with self._lock:
            self._closed = True
            futures = list(self._futures) if cancel_futures else []
        for future in futures:
            future.cancel()
        self._calls.put(None)

    def _join(self, timeout_s: float | None) -> bool:
        for thread in self._threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (call := self._next()) is not None:
            call()
            del call
        self._calls.put(None)  # for the next thread

    def _next(self) -> _Call | None:
        try:
            return self._calls.get_nowait()
        except Empty:
            self._idle.release()
            return self._calls.get()
