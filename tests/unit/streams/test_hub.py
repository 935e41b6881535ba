import asyncio

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import Conflict, InvalidRequest, NotFound, Overloaded, ShuttingDown
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip
from onlooker.core.metrics import Metrics
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import IngestResult
from onlooker.streams.events import StreamEnded
from onlooker.streams.stream import StreamOptions
from tests.fakes.pictures import make_message
from tests.fakes.streams import SMALL, ask, running_hub

LIVE = StreamOptions(clock="live")


async def test_streams_are_opened_found_listed_and_closed() -> None:
    metrics = Metrics()
    async with running_hub(metrics=metrics) as hub:
        door = await hub.open_stream(StreamId("door"))
        other = await hub.open_stream()
        assert hub.get("door") is door
        assert hub.streams() == [door, other]
        await hub.close_stream("door", "no longer needed")
        assert hub.streams() == [other]
        with pytest.raises(NotFound, match=r"no stream 'door'.*POST /v1/streams"):
            hub.get("door")
        with pytest.raises(NotFound):
            await hub.close_stream("door", "again")
        value = metrics.registry.get_sample_value
        assert value("onlooker_streams_active") == 1
        assert value("onlooker_streams_total", {"reason": "closed"}) == 1


@pytest.mark.parametrize("name", ["", "a b", "../etc", "x" * 65, "-x"])
async def test_an_id_that_cannot_stand_in_a_url_is_refused(name: str) -> None:
    async with running_hub() as hub:
        with pytest.raises(InvalidRequest, match="1 to 64"):
            await hub.open_stream(StreamId(name))


async def test_the_same_id_twice_is_a_conflict_even_while_the_first_still_opens() -> None:
    async with running_hub() as hub:
        results = await asyncio.gather(
            *(hub.open_stream(StreamId("door")) for _ in range(3)), return_exceptions=True
        )
        assert sum(isinstance(result, Conflict) for result in results) == 2


async def test_streams_are_limited() -> None:
    async with running_hub(max_streams=2) as hub:
        for _ in range(2):
            await hub.open_stream()
        with pytest.raises(Overloaded, match="max_streams"):
            await hub.open_stream()


async def test_a_stream_that_nobody_uses_is_closed_and_a_used_one_is_not() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock, stream_idle_s=100.0) as hub:
        idle, fed, watched = [await hub.open_stream(options=LIVE) for _ in range(3)]
        late = idle.subscribe(max_events=20)
        late.close()
        events = watched.subscribe(max_events=50)
        for step in range(16):
            clock.advance(10.0)
            await fed.push_wait(make_message(step * 10.0, received_at_s=clock.now_s()))
            for _ in range(5):
                await asyncio.sleep(0)
        assert hub.streams() == [fed, watched]
        assert idle.closed_reason == "idle for 100 s"
        events.close()


class ExplodingEngine(ScriptedEngine):
    """Has a fault of its own on one stream."""

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        if clip.stream_id == "bad":
            raise ZeroDivisionError("a fault in the engine's code")
        return await super().ingest(clip, care)


async def test_a_fault_in_one_stream_ends_that_stream_only() -> None:
    metrics = Metrics()
    async with running_hub(engine=ExplodingEngine(info=SMALL), metrics=metrics) as hub:
        bad = await hub.open_stream(StreamId("bad"), LIVE)
        good = await hub.open_stream(StreamId("good"), LIVE)
        events = bad.subscribe(max_events=20)
        for stream in (bad, good):
            for index in range(2):
                await stream.push_wait(make_message(index / 2))
        told = [event async for _, event in events]
        assert told[-1] == StreamEnded("internal error in this stream", is_kept=True)
        assert hub.streams() == [good]
        assert await ask(good, "how many?") == "I have seen 1 clips up to 0.50 s."
        value = metrics.registry.get_sample_value
        assert value("onlooker_streams_total", {"reason": "failed"}) == 1
        assert await hub.open_stream(StreamId("bad"))


async def test_closing_the_hub_tells_every_viewer_and_refuses_new_streams() -> None:
    async with running_hub() as hub:
        assert hub.ready()
        stream = await hub.open_stream()
        events = stream.subscribe(max_events=20)
        await hub.close(deadline_s=1.0)
        assert [event async for _, event in events][-1] == StreamEnded(
            "the server is shutting down", is_kept=True
        )
        assert not hub.ready()
        with pytest.raises(ShuttingDown):
            await hub.open_stream()
