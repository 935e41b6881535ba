"""What belonged to a deleted stream goes, also where Redis was away when it was deleted."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.drawer import DrawerAway, WriteRefused
from onlooker.core.errors import Overloaded
from onlooker.core.file_drawer import FileDrawer
from onlooker.core.ids import tenant_stream_id
from onlooker.core.metrics import Metrics
from onlooker.streams.belongings import ALERTS, SETTLE_S, WATCHES
from onlooker.streams.clearing import Clearing
from tests.fakes.streams import InlineExecutor, running_hub
from tests.fakes.waiting import until
from tests.unit.streams.test_belongings import QuickDrawer
from tests.unit.watches.test_keeper import RED, VIRTUAL, make_engine

DOOR, HALL = tenant_stream_id("acme", "door"), tenant_stream_id("acme", "hall")


class FarDrawer(QuickDrawer):
    """May be away, and notes which streams were cleared on whose behalf."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Exception | None = DrawerAway("no answer in time")
        self.cleared: list[tuple[str, int]] = []

    async def clear(self, stream_id: Any, *, epoch: int) -> None:
        if self.fault is not None:
            raise self.fault
        self.cleared.append((stream_id, epoch))


def make_clearing(drawer: FarDrawer, clock: ManualClock, *, max_streams: int = 9) -> Clearing:
    return Clearing(drawer, clock=clock, metrics=Metrics(), max_streams=max_streams)


async def pass_time(clock: ManualClock, duration_s: float) -> None:
    """Let what is ready run, before and after."""
    for step_s in (duration_s, 0.0):
        for _ in range(5):
            await asyncio.sleep(0)
        clock.advance(step_s)


async def test_streams_are_cleared_once_the_drawer_is_back() -> None:
    drawer, clock = FarDrawer(), ManualClock()
    clearing = make_clearing(drawer, clock)
    clearing.add(DOOR, epoch=3)
    clearing.add(HALL, epoch=0)
    for _ in range(5):
        await pass_time(clock, 60.0)
    assert drawer.cleared == []
    drawer.fault = None
    await pass_time(clock, 60.0)
    assert drawer.cleared == [(DOOR, 3), (HALL, 0)]
    await clearing.close()


async def test_a_stream_is_not_opened_before_it_is_cleared() -> None:
    drawer, clock = FarDrawer(), ManualClock()
    clearing = make_clearing(drawer, clock)
    clearing.add(DOOR, epoch=3)
    await clearing.before_opening(HALL, epoch=1)
    with pytest.raises(Overloaded):
        await clearing.before_opening(DOOR, epoch=5)
    drawer.fault = None
    await clearing.before_opening(DOOR, epoch=5)
    await pass_time(clock, 60.0)
    assert drawer.cleared == [(DOOR, 5)], "the new one's own is not cleared later"
    await clearing.close()


async def test_a_stream_that_was_opened_while_others_are_cleared_is_left_alone() -> None:
    drawer, clock = FarDrawer(), ManualClock()
    clearing = make_clearing(drawer, clock)
    drawer.fault = None
    opened = asyncio.Event()

    async def clear(stream_id: Any, *, epoch: int) -> None:
        if stream_id == HALL:
            opened.set()
            await asyncio.sleep(0)  # another has its turn here
            await asyncio.sleep(0)
        drawer.cleared.append((stream_id, epoch))

    drawer.clear = clear  # type: ignore[method-assign]
    clearing.add(HALL, epoch=1)
    clearing.add(DOOR, epoch=3)
    passing = asyncio.create_task(pass_time(clock, 60.0))
    await opened.wait()
    await clearing.before_opening(DOOR, epoch=5)
    await passing
    assert (DOOR, 3) not in drawer.cleared
    assert (DOOR, 5) in drawer.cleared
    await clearing.close()


async def test_what_is_the_next_owners_stays() -> None:
    drawer, clock = FarDrawer(), ManualClock()
    drawer.fault = WriteRefused("another server owns the stream")
    clearing = make_clearing(drawer, clock)
    clearing.add(DOOR, epoch=3)
    await pass_time(clock, 60.0)
    drawer.fault = None
    await pass_time(clock, 60.0)
    assert drawer.cleared == []
    await clearing.close()


async def test_no_more_wait_than_may() -> None:
    drawer, clock = FarDrawer(), ManualClock()
    drawer.fault = None
    clearing = make_clearing(drawer, clock, max_streams=1)
    clearing.add(DOOR, epoch=0)
    clearing.add(HALL, epoch=0)
    await pass_time(clock, 60.0)
    assert drawer.cleared == [(DOOR, 0)]
    await clearing.close()


async def test_a_stream_that_was_deleted_while_its_drawer_was_away_comes_back_without_its_watches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise DrawerAway("no answer in time")

    clock = ManualClock()
    drawer = FileDrawer(
        tmp_path, folders=(ALERTS, WATCHES), max_streams=8, executor=InlineExecutor()
    )
    async with running_hub(clock=clock, engine=make_engine(clock=clock), kept=drawer) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        await stream.make_watch(RED, "w")
        with monkeypatch.context() as gone:
            gone.setattr(FileDrawer, "clear", away)
            closing = hub._spawn(hub.close_stream(DOOR, "deleted"))
            await until(lambda: not hub.streams())
            while not closing.done():
                await pass_time(clock, SETTLE_S)
            assert await drawer.read(DOOR)
        again = await hub.open_stream(DOOR, VIRTUAL)
        assert again.watches.ids() == []
