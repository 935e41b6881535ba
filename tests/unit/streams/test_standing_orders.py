"""Orders that change while a stream's watches are brought up to date with them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.file_drawer import FileDrawer
from onlooker.core.ids import tenant_stream_id
from onlooker.streams.belongings import ALERTS, WATCHES
from onlooker.streams.hub import StreamHub
from onlooker.streams.standing_orders import ORDERS, StandingOrder
from onlooker.streams.stream import Stream
from tests.fakes.streams import InlineExecutor, running_hub
from tests.unit.watches.test_keeper import RED, VIRTUAL, make_engine

ORDER = StandingOrder("order_1", (), RED, 0.0)


@asynccontextmanager
async def following(folder: Path) -> AsyncIterator[tuple[StreamHub, Stream]]:
    """A stream that has looked at the orders, of which there are none yet."""
    drawer = FileDrawer(
        folder, folders=(ALERTS, WATCHES, ORDERS), max_streams=8, executor=InlineExecutor()
    )
    clock = ManualClock()
    async with running_hub(clock=clock, engine=make_engine(clock=clock), kept=drawer) as hub:
        stream = await hub.open_stream(tenant_stream_id("acme", "door"), VIRTUAL)
        await hub.orders.apply(stream)  # behind what the opening began
        yield hub, stream


class LateReader:
    """Has the next reading of orders answered late."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_read, self.goes_on = asyncio.Event(), asyncio.Event()
        read = FileDrawer.read

        async def late(*arguments: Any) -> dict[str, bytes]:
            found = await read(*arguments)
            if not self.has_read.is_set():
                self.has_read.set()
                await self.goes_on.wait()
            return found

        monkeypatch.setattr(FileDrawer, "read", late)


async def test_the_watch_of_an_order_that_came_while_the_others_were_read_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with following(tmp_path) as (hub, stream):
        late = LateReader(monkeypatch)
        applying = asyncio.create_task(hub.orders.apply(stream))
        await late.has_read.wait()
        await hub.orders.add("acme", ORDER)
        await stream.make_watch(RED, ORDER.order_id)
        late.goes_on.set()
        await applying
        assert stream.watches.ids() == [ORDER.order_id]


async def test_an_order_that_was_dropped_while_it_was_read_leaves_no_watch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with following(tmp_path) as (hub, stream):
        await hub.orders.add("acme", ORDER)
        late = LateReader(monkeypatch)
        applying = asyncio.create_task(hub.orders.apply(stream))
        await late.has_read.wait()
        await hub.orders.alter("acme", ORDER.order_id, lambda _: None)
        late.goes_on.set()
        await applying
        assert stream.watches.ids() == []
