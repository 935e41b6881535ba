"""What was begun is undone, whatever it was that went wrong on the way."""

from typing import Any

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import EngineFailed
from onlooker.core.ids import StreamId
from onlooker.engine.fake import ScriptedEngine
from onlooker.streams.sources.spec import SourceSpec
from onlooker.streams.stream import StreamOptions
from onlooker.streams.tenants import TenantStreams
from onlooker.watches.keeper import WatchKeeper
from tests.fakes.streams import SMALL, ask, running_hub


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
