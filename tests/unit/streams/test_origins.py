"""Streams that were given the wall clock of their time 0."""

from pathlib import Path

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import ServiceError
from onlooker.core.ids import StreamId
from onlooker.engine.fake import ScriptedEngine
from onlooker.streams.origins import OriginShelf
from onlooker.streams.state import StreamOptions
from tests.fakes.pictures import Colour, make_message
from tests.fakes.streams import SMALL, ask, running_hub

DOOR = StreamId("door")
DAY_S = 86_400.0


async def test_a_stream_that_is_found_again_keeps_its_wall_clock(tmp_path: Path) -> None:
    shelf = OriginShelf(tmp_path / "origins", max_streams=8)
    assert await shelf.settle(DOOR, None) is None
    assert await shelf.settle(DOOR, 1000.25) == 1000.25
    again = OriginShelf(tmp_path / "origins", max_streams=8)
    assert await again.settle(DOOR, None) == 1000.25
    assert await again.settle(DOOR, 2000.0) == 1000.25


async def test_a_stream_that_was_closed_on_purpose_begins_anew(tmp_path: Path) -> None:
    shelf = OriginShelf(tmp_path, max_streams=8)
    await shelf.settle(DOOR, 1000.0)
    await shelf.forget(DOOR)
    assert await shelf.settle(DOOR, 2000.0) == 2000.0


async def test_the_shelf_is_bounded_and_the_oldest_goes(tmp_path: Path) -> None:
    shelf = OriginShelf(tmp_path, max_streams=2)
    for number in range(3):
        await shelf.settle(StreamId(f"s{number}"), float(number))
    assert await shelf.settle(StreamId("s0"), None) is None
    assert await shelf.settle(StreamId("s1"), None) == 1.0
    assert await shelf.settle(StreamId("s2"), None) == 2.0


async def test_a_disk_that_takes_nothing_refuses_the_stream(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match="starts_at"):
        await OriginShelf(tmp_path / "file", max_streams=2).settle(DOOR, 1.0)


async def test_a_file_that_cannot_be_read_is_written_anew(tmp_path: Path) -> None:
    shelf = OriginShelf(tmp_path, max_streams=2)
    await shelf.settle(DOOR, 1.0)
    (tmp_path / "default~door.txt").write_text("what?")
    assert await shelf.settle(DOOR, 3.0) == 3.0


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
