"""Waiting with a time limit, on any clock."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from onlooker.core.clock import Clock

T = TypeVar("T")


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
