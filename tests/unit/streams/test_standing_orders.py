"""Orders that change while a stream's watches are brought up to date with them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.drawer import DrawerAway
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


async def test_an_order_of_a_server_whose_clock_is_ahead_is_followed_once(
    tmp_path: Path,
) -> None:
    async with following(tmp_path) as (hub, stream):
        ahead_s = hub._shared.clock.wall_s() + 3600.0
        await hub.orders.add("acme", replace(ORDER, created_wall_s=ahead_s))
        await hub.orders.apply(stream)
        paused = replace(RED, paused=True)
        await hub.orders.alter(
            "acme", ORDER.order_id, lambda order: order.changed(paused, None, now_wall_s=0.0)
        )
        await hub.orders.apply(stream)
        followed = stream.watches.get(ORDER.order_id)
        assert followed.options.paused
        await hub.orders.apply(stream)
        assert stream.watches.get(ORDER.order_id) is followed, "it is not begun anew at each look"


async def test_a_new_watch_of_an_order_is_as_new_as_the_order(tmp_path: Path) -> None:
    async with following(tmp_path) as (hub, stream):
        ahead_s = hub._shared.clock.wall_s() + 3600.0
        await hub.orders.add("acme", replace(ORDER, changed_wall_s=ahead_s))
        await hub.orders.apply(stream)
        made = stream.watches.get(ORDER.order_id)
        await hub.orders.apply(stream)
        assert stream.watches.get(ORDER.order_id) is made


@pytest.mark.parametrize("is_dropped", [True, False])
async def test_a_change_of_an_order_whose_reply_was_lost_is_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_dropped: bool
) -> None:
    async with following(tmp_path) as (hub, _):
        await hub.orders.add("acme", ORDER)
        exchange = FileDrawer.exchange
        lost: list[bool] = []

        async def deaf(*arguments: Any, **more: Any) -> bool:
            done = await exchange(*arguments, **more)
            if not lost:
                lost.append(done)
                raise DrawerAway("no answer in time")
            return done

        monkeypatch.setattr(FileDrawer, "exchange", deaf)
        paused = ORDER.changed(replace(RED, paused=True), None, now_wall_s=9.0)
        wanted = None if is_dropped else paused
        assert await hub.orders.alter("acme", ORDER.order_id, lambda _: wanted) == (ORDER, wanted)
        assert await hub.orders.orders("acme") == ([] if wanted is None else [wanted])
