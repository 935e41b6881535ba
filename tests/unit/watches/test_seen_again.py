"""Clips that a server acknowledged before it died, and that the next one shows the engine again.

Nobody knows which of them the watches had looked at. A server that dies is a hub that is closed
while its engine's store still has clips to write.
"""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from onlooker.core.clock import ManualClock
from onlooker.core.ids import StreamId
from onlooker.engine.fake import ScriptedStore
from onlooker.streams.hub import StreamHub
from onlooker.streams.stream import Stream
from onlooker.watches.events import AlertRaised
from tests.fakes.pictures import make_message
from tests.fakes.streams import ask, next_event, running_hub
from tests.fakes.waiting import until
from tests.unit.watches.test_keeper import EVERY, LIVE, RED, VIRTUAL, alerts_of, make_engine, show

DOOR = StreamId("door")


def hub_on(
    store: ScriptedStore, folder: Path, clock: ManualClock | None = None, **engine: Any
) -> AbstractAsyncContextManager[StreamHub]:
    clock = clock or ManualClock()
    return running_hub(
        engine=make_engine(store=store, clock=clock, **engine), clock=clock,
        journal=folder / "journal", kept=folder / "kept", perception=EVERY,
    )  # fmt: skip


async def show_live(stream: Stream, clock: ManualClock, colours: list[str], first: int = 0) -> None:
    """One clip a second, and then a moment in which the last one's frame waits in vain."""
    for index, colour in enumerate(colours, first):
        at_s = clock.now_s()
        await stream.push_wait(
            make_message(float(index), colour=colour, sequence=index, received_at_s=at_s)
        )
        clock.advance(1.0)
    await until(lambda: stream.status().clips == first + len(colours))


async def test_what_no_watch_had_looked_at_when_the_server_died_is_alerted_by_the_next(
    tmp_path: Path,
) -> None:
    store, clock = ScriptedStore(is_writing=False), ManualClock()
    async with hub_on(store, tmp_path, clock, check_s=1e6) as hub:
        stream = await hub.open_stream(DOOR, LIVE)
        stream.watches.create(RED, "w")
        stream.claim_source("test")
        await show_live(stream, clock, ["blue", "red", "blue"])
        assert alerts_of(stream.subscribe(max_events=100, after=0)) == []
    async with hub_on(store, tmp_path) as hub:
        stream = await hub.open_stream(DOOR, LIVE)
        events = stream.subscribe(max_events=100, after=0)
        alert = (await next_event(events, AlertRaised)).alert
        assert (alert.number, alert.end_s) == (1, 1.0)
        await until(lambda: stream.watches.get("w").counts.clips == 3)
        assert alerts_of(events) == []


async def test_what_was_alerted_before_the_server_died_is_not_alerted_again(
    tmp_path: Path,
) -> None:
    store = ScriptedStore(is_writing=False)
    async with hub_on(store, tmp_path) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        stream.watches.create(RED, "w")
        stream.claim_source("test")
        await show(stream, ["blue", "red", "blue", "red", "blue", "blue"])
        await ask(stream)
        await until(lambda: len(alerts_of(stream.subscribe(max_events=100, after=0))) == 2)
    async with hub_on(store, tmp_path) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        events = stream.subscribe(max_events=100, after=0)
        stream.claim_source("test")
        await show(stream, ["blue", "red", "blue"], first=6)
        await ask(stream)
        await until(lambda: stream.watches.get("w").counts.alerts == 3)
        assert [(one.number, one.end_s) for one in alerts_of(events)] == [
            (1, 1.0), (2, 3.0), (3, 7.0),
        ]  # fmt: skip


async def test_a_watch_does_not_look_at_what_was_there_before_it(tmp_path: Path) -> None:
    store = ScriptedStore(is_writing=False)
    async with hub_on(store, tmp_path) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        stream.claim_source("test")
        await show(stream, ["blue", "red", "blue", "blue"])
        await ask(stream)
        stream.watches.create(RED, "w")
    async with hub_on(store, tmp_path) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        events = stream.subscribe(max_events=100, after=0)
        stream.claim_source("test")
        await show(stream, ["blue", "red", "blue"], first=4)
        await ask(stream)
        await until(lambda: stream.watches.get("w").counts.alerts == 1)
        assert [one.end_s for one in alerts_of(events)] == [5.0]
