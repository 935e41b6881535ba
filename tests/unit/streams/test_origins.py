"""Streams that were given the wall clock of their time 0."""

from pathlib import Path

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import ServiceError
from onlooker.core.ids import StreamId
from onlooker.engine.fake import ScriptedEngine, ScriptedStore
from onlooker.streams.state import StreamOptions
from tests.fakes.pictures import Colour, make_message
from tests.fakes.streams import SMALL, ask, running_hub

DOOR = StreamId("door")
DAY_S = 86_400.0


def finding() -> ScriptedEngine:
    """An engine that finds streams again."""
    return ScriptedEngine(clock=ManualClock(), info=SMALL, store=ScriptedStore())


async def opened_at(folder: Path, wanted_s: float | None) -> float | None:
    """The origin of a stream that is opened by a server and stays when that ends."""
    async with running_hub(kept=folder, engine=finding()) as hub:
        stream = await hub.open_stream(DOOR, StreamOptions(zero_wall_s=wanted_s))
        return stream.status().zero_wall_s


async def test_a_stream_that_is_found_again_keeps_its_wall_clock(tmp_path: Path) -> None:
    assert await opened_at(tmp_path, None) is None
    assert await opened_at(tmp_path, 1000.25) == 1000.25
    assert await opened_at(tmp_path, None) == 1000.25
    assert await opened_at(tmp_path, 2000.0) == 1000.25


async def test_the_wall_clock_that_an_earlier_version_kept_is_found(tmp_path: Path) -> None:
    (tmp_path / "origins").mkdir()
    (tmp_path / "origins" / "default~door.txt").write_text("1000.25")
    assert await opened_at(tmp_path, 2000.0) == 1000.25


async def test_a_stream_that_was_closed_on_purpose_begins_anew(tmp_path: Path) -> None:
    async with running_hub(kept=tmp_path, engine=finding()) as hub:
        await hub.open_stream(DOOR, StreamOptions(zero_wall_s=1000.0))
        await hub.close_stream(DOOR, "asked for")
    assert await opened_at(tmp_path, 2000.0) == 2000.0


async def test_a_disk_that_takes_nothing_refuses_the_stream(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with running_hub(kept=tmp_path / "file", engine=finding()) as hub:
        with pytest.raises(ServiceError, match="starts_at"):
            await hub.open_stream(DOOR, StreamOptions(zero_wall_s=1.0))
        assert hub.streams() == []


async def test_a_wall_clock_that_cannot_be_read_is_written_anew(tmp_path: Path) -> None:
    assert await opened_at(tmp_path, 1.0) == 1.0
    (tmp_path / "origins" / "default~door.json").write_text("what?")
    assert await opened_at(tmp_path, 3.0) == 3.0


async def test_yesterday_is_the_day_before_that_of_whoever_asks() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=SMALL)
    async with running_hub(clock=clock, engine=engine, perception={"gate_threshold": 0.0}) as hub:
        options = StreamOptions(clock="virtual", zero_wall_s=clock.wall_s() - 2 * DAY_S)
        stream = await hub.open_stream(DOOR, options)
        stream.claim_source("importer")
        colours: dict[float, Colour] = {0.0: "red", DAY_S: "green", DAY_S + 60.0: "blue"}
        for begin_s, colour in colours.items():
            for at_s in (begin_s, begin_s + 0.5):
                await stream.push_wait(make_message(at_s, colour=colour))
        assert stream.status().zero_wall_s == options.zero_wall_s
        assert "green, blue." in await ask(stream, "Which colours were there yesterday?")
        assert ": red." in await ask(stream, "Which colours were there the day before yesterday?")
        assert "red, green, blue." in await ask(stream, "Which colours were there?")
