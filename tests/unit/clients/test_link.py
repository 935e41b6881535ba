"""A link that is told to stop stops, whatever is just happening to its connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from onlooker.clients.python import connection
from onlooker.clients.python.link import Link
from onlooker.clients.python.options import Reconnect
from onlooker.clients.python.outbox import FrameOutbox
from onlooker.core.clock import ManualClock
from onlooker.core.errors import OnlookerError
from tests.fakes.waiting import limited


class BreakingSocket:
    """Its connection is lost at once, while the last message still leaves."""

    protocol = SimpleNamespace(close_rcvd=None)

    def __init__(self) -> None:
        self.is_leaving = asyncio.Event()
        self.has_left = asyncio.Event()
        self.is_sending = asyncio.Event()

    async def send(self, message: str) -> None:
        self.is_sending.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.is_leaving.set()
            await self.has_left.wait()

    async def __aiter__(self) -> AsyncIterator[str]:
        await self.is_sending.wait()
        for _ in ():
            yield ""


async def test_a_cancellation_while_the_connection_breaks_is_not_swallowed() -> None:
    socket, outbox = BreakingSocket(), FrameOutbox(max_frames=4, keep_unacknowledged=False)
    outbox.put_event("hello")

    @asynccontextmanager
    async def dial() -> AsyncIterator[tuple[Any, Any]]:
        yield socket, None

    link = Link(
        dial=cast(Any, dial),
        policy=Reconnect(),
        clock=ManualClock(),  # which nobody moves: it would wait for ever to connect again
        outbox=outbox,
        greeting=None,
        on_session=lambda session: None,
        on_event=lambda event: None,
        on_lost=lambda error, wait_s: None,
    )
    running = asyncio.create_task(link.run())
    async with limited("the connection to break"):
        await socket.is_leaving.wait()
    running.cancel()
    await asyncio.sleep(0)
    socket.has_left.set()
    async with limited("the link to stop"):
        await asyncio.wait((running,))
    assert running.cancelled()


async def test_a_fault_of_the_client_ends_the_stream_with_a_reason() -> None:
    @asynccontextmanager
    async def dial() -> AsyncIterator[tuple[Any, Any]]:
        raise TypeError("what nobody thought of")
        yield

    told: list[tuple[OnlookerError, float | None]] = []
    link = Link(
        dial=cast(Any, dial),
        policy=Reconnect(),
        clock=ManualClock(),
        outbox=FrameOutbox(max_frames=4, keep_unacknowledged=False),
        greeting=None,
        on_session=lambda session: None,
        on_event=lambda event: None,
        on_lost=lambda error, wait_s: told.append((error, wait_s)),
    )
    link.established.set()  # it has been connected before
    async with limited("the link to end"):
        await link.run()
    [(error, wait_s)] = told
    assert "what nobody thought of" in error.message
    assert wait_s is None


async def test_a_server_that_reads_nothing_more_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aborted: list[str] = []

    async def close() -> None:
        await asyncio.Event().wait()

    socket = SimpleNamespace(
        close=close, transport=SimpleNamespace(abort=lambda: aborted.append("hung up"))
    )
    monkeypatch.setattr(connection, "LEAVE_S", 0.01)
    async with limited("leaving"):
        await connection._leave(cast(Any, socket))
    assert aborted == ["hung up"]
