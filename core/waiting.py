"""Waiting with a limit: a time on whatever clock, or until something else has happened."""

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, TypeVar

from onlooker.core.clock import Clock

T = TypeVar("T")

CANCEL_AGAIN_S = 0.5
"""After so many seconds of real time a task that was cancelled and goes on is cancelled again."""


async def within(clock: Clock, limit_s: float, work: Awaitable[T]) -> T:
    """Await `work` for at most `limit_s` seconds of `clock`, after which `work` is cancelled.

    Raises:
        TimeoutError: the work was not done within the limit.
    """
    task = asyncio.ensure_future(work)
    limit = asyncio.ensure_future(clock.sleep(limit_s))
    try:
        await asyncio.wait((task, limit), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError(f"not done within {limit_s} s")
        return task.result()
    finally:
        task.cancel()
        limit.cancel()


async def cancel(task: "asyncio.Task[Any]") -> None:
    """Cancel `task` and wait until it has ended; raises what it failed with.

    Who is cancelled while waiting here is told so. ``suppress(CancelledError)`` around ``await
    task`` cannot tell the two apart: it swallows the caller's own cancellation, which then goes on
    as if nothing had happened.

    It is cancelled again while it goes on: libraries lose a cancellation now and then. That of
    Redis does where it comes in the same moment as a reply, since it asks with a timeout of 0 s
    whether there is more.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=CANCEL_AGAIN_S)
    if not task.cancelled():
        task.result()


class CutShort(Exception):
    """What was awaited is not wanted any more."""


class CutShortBy:
    """``with CutShortBy(ended):`` cancels what the block awaits as soon as `ended` is done.

    It is to a future what `asyncio.timeout` is to a time: no task is made, the one that runs the
    block is cancelled, and the cancellation ends at the block, which raises `CutShort` in its
    place. What was awaited has cleaned up after itself by then. A cancellation by somebody else
    passes through. An object serves one block.
    """

    __slots__ = ("_ended", "_is_cut", "_num_cancels", "_task")

    def __init__(self, ended: "asyncio.Future[Any]") -> None:
        self._ended = ended
        self._task: asyncio.Task[Any] | None = None
        self._num_cancels = 0
        self._is_cut = False

    def __enter__(self) -> None:
        if self._ended.done():
            raise CutShort
        self._task = asyncio.current_task()
        assert self._task is not None, "only a task can be cut short"
        self._num_cancels = self._task.cancelling()
        self._ended.add_done_callback(self._cut)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        self._ended.remove_done_callback(self._cut)
        if not self._is_cut:
            return
        assert task is not None
        if task.uncancel() <= self._num_cancels and kind is asyncio.CancelledError:
            raise CutShort from error

    def _cut(self, ended: "asyncio.Future[Any]") -> None:
        if self._task is not None:  # else the block ended in the same turn of the loop
            self._is_cut = True
            self._task.cancel()
