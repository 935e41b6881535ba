"""Waiting in tests: always with a limit, and whatever runs into it says what it waited for.

The limit only ends what hangs. It costs nothing when all is well, and so it is far longer than
anything takes on a machine that is busy with other things.
"""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")

WAIT_S = 100.0
"""The longest that a test waits for anything."""

_QUICK_TURNS = 1000
"""After so many turns of the event loop it is no matter of turns when a condition will hold."""


@asynccontextmanager
async def limited(what: str) -> AsyncIterator[None]:
    """Fail when the block takes longer than `WAIT_S`; `what` says what it waits for."""
    limit = asyncio.timeout(WAIT_S)
    try:
        async with limit:
            yield
    except TimeoutError:
        if limit.expired():
            raise AssertionError(f"waited {WAIT_S:g} s for {what}") from None
        raise


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop turn until `condition` holds, for what no event tells of.

    It returns in the very turn in which that is so. What takes many turns is done elsewhere, by a
    thread or a process, and that one then gets the processor.
    """
    async with limited(inspect.getsource(condition).strip()):
        num_turns = 0
        while not condition():
            num_turns += 1
            await asyncio.sleep(0 if num_turns < _QUICK_TURNS else 0.001)


def in_time(what: str, work: Callable[[], T]) -> T:
    """The result of `work`, run in another thread as it blocks and might do so for ever."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name=what, daemon=True).start()
    try:
        return done.result(WAIT_S)
    except TimeoutError:
        if done.done():
            raise
        raise AssertionError(f"waited {WAIT_S:g} s for {what}") from None
