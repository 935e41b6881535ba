"""A real server on an event loop of its own, in a thread, for callers that block."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.fakes.served import Served, serving
from tests.fakes.waiting import WAIT_S


@dataclass(frozen=True, slots=True)
class ServedApart:
    """A running server, and the loop that it runs on."""

    served: Served
    loop: asyncio.AbstractEventLoop

    @property
    def base(self) -> str:
        """Its address."""
        return self.served.base

    def call(self, action: Callable[[Served], Awaitable[Any]]) -> Any:
        """What `action` returns, which runs where the server does."""

        async def run() -> Any:
            return await action(self.served)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(WAIT_S)


@contextmanager
def serving_apart(**options: Any) -> Iterator[ServedApart]:
    """Run a server as `serving` does while the block runs."""
    started: list[ServedApart] = []
    is_up, may_end = threading.Event(), asyncio.Event()
    failures: list[BaseException] = []

    async def serve() -> None:
        async with serving(**options) as served:
            started.append(ServedApart(served, asyncio.get_running_loop()))
            is_up.set()
            await may_end.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            failures.append(error)
        finally:
            is_up.set()

    thread = threading.Thread(target=run, name="server")
    thread.start()
    try:
        assert is_up.wait(WAIT_S)
        if failures:
            raise failures[0]
        yield started[0]
    finally:
        if started:
            started[0].loop.call_soon_threadsafe(may_end.set)
        thread.join(WAIT_S)
        assert failures == []
        assert not thread.is_alive()
