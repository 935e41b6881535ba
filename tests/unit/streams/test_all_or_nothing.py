"""What was begun is undone, whatever it was that went wrong on the way."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.drawer import DrawerFailed
from onlooker.core.errors import EngineFailed
from onlooker.core.file_drawer import FileDrawer
from onlooker.core.ids import StreamId, tenant_stream_id
from onlooker.engine.fake import ScriptedEngine
from onlooker.streams.belongings import ALERTS, WATCHES
from onlooker.streams.sources.spec import SourceSpec
from onlooker.streams.standing_orders import ORDERS, StandingOrder
from onlooker.streams.stream import StreamOptions
from onlooker.streams.tenants import TenantStreams
from onlooker.watches.keeper import WatchKeeper
from tests.fakes.streams import SMALL, ask, running_hub
from tests.fakes.waiting import until
from tests.unit.watches.test_keeper import RED, VIRTUAL, make_engine


class Unexpected(Exception):
    """Nobody thought of it."""


async def test_a_stream_whose_source_fails_in_an_unforeseen_way_is_closed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_hub(clock=ManualClock()) as hub:
        streams = TenantStreams(hub, "acme")

        async def fail(*_: Any) -> None:
            raise Unexpected

        monkeypatch.setattr(hub, "pull", fail)
        with pytest.raises(Unexpected):
            await streams.open_pulled("door", StreamOptions(), SourceSpec("http://8.8.8.8/"))
        assert hub.streams() == []


async def test_a_stream_that_could_not_be_opened_whole_is_not_open_anywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    closed: list[tuple[str, bool]] = []

    class Noting(ScriptedEngine):
        async def close_stream(self, stream_id: Any, *, forget: bool = True) -> None:
            closed.append((stream_id, forget))
            await super().close_stream(stream_id, forget=forget)

    clock = ManualClock()
    engine = Noting(clock=clock, info=SMALL)
    async with running_hub(clock=clock, engine=engine, kept=tmp_path) as hub:
        streams = TenantStreams(hub, "acme")
        with monkeypatch.context() as broken:

            def fail(*_: Any) -> None:
                raise Unexpected

            broken.setattr(WatchKeeper, "restore", fail)
            with pytest.raises(Unexpected):
                await streams.open_stream("door")
        assert hub.streams() == []
        assert closed == [("acme/door", False)], "its memory stays for the next attempt"
        stream = await streams.open_stream("door")
        assert await ask(stream)


async def test_the_album_lets_go_of_a_stream_that_could_not_be_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone: list[StreamId] = []

    class Noting:
        def let_go(self, stream_id: StreamId) -> None:
            gone.append(stream_id)

    async with running_hub(clock=ManualClock()) as hub:
        with monkeypatch.context() as broken:
            broken.setattr(hub._opener, "_albums", Noting())
            await hub._opener.undo(StreamId("acme/door"))
    assert gone == ["acme/door"]


async def test_what_cannot_be_closed_again_keeps_nothing_else_from_being_let_go() -> None:
    class Stuck(ScriptedEngine):
        async def close_stream(self, stream_id: Any, *, forget: bool = True) -> None:
            raise EngineFailed("stuck")

    engine = Stuck(clock=ManualClock(), info=SMALL)
    async with running_hub(clock=ManualClock(), engine=engine) as hub:
        account = hub.accounts.of_stream(StreamId("acme/door"))
        await account.open_stream("door")
        with pytest.raises(EngineFailed):
            await hub._opener.undo(StreamId("acme/door"))
        assert account.standing().streams == 0


async def test_a_watch_whose_maker_was_cancelled_before_it_was_kept_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock, goes_on, write = ManualClock(), asyncio.Event(), FileDrawer.write

    async def slow(*arguments: Any, **more: Any) -> None:
        await goes_on.wait()
        await write(*arguments, **more)

    async with running_hub(clock=clock, engine=make_engine(clock=clock), kept=tmp_path) as hub:
        stream = await hub.open_stream(tenant_stream_id("acme", "door"), VIRTUAL)
        monkeypatch.setattr(FileDrawer, "write", slow)
        making = asyncio.create_task(stream.make_watch(RED, "w"))
        await until(lambda: stream.watches.ids() == ["w"])
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
        assert stream.watches.ids() == []
        goes_on.set()


async def test_a_stream_follows_a_standing_order_also_where_that_cannot_be_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def full(*_: Any, **__: Any) -> None:
        raise DrawerFailed("no space left on device")

    clock, drawer = (
        ManualClock(),
        FileDrawer(tmp_path, folders=(ALERTS, WATCHES, ORDERS), max_streams=8),
    )
    async with running_hub(clock=clock, engine=make_engine(clock=clock), kept=drawer) as hub:
        stream = await hub.open_stream(tenant_stream_id("acme", "door"), VIRTUAL)
        await hub.orders.add("acme", StandingOrder("order_1", (), RED, 0.0))
        monkeypatch.setattr(FileDrawer, "write", full)
        await hub.orders.apply(stream)
        assert stream.watches.ids() == ["order_1"]
        assert stream.account.standing().watches == 1
