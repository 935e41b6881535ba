"""Admission, shedding and quality, where they meet the streams."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import Overloaded
from onlooker.core.media import Clip, DropReason
from onlooker.core.metrics import Metrics
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import IngestResult, Question
from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.quality import RUNGS
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.slo import Tier
from onlooker.streams.events import ClipSeen, FrameAck, PaceChanged
from onlooker.streams.hub import StreamHub
from onlooker.streams.stream import StreamOptions
from tests.fakes.pictures import make_message
from tests.fakes.streams import SMALL, InlineExecutor, ask, running_hub, waiting_events
from tests.fakes.waiting import until


class LoadedEngine(ScriptedEngine):
    """Says that it is as busy as a test wants, and notes how it was asked."""

    def __init__(self, **options: Any) -> None:
        super().__init__(info=SMALL, **options)
        self.told = EngineLoad()
        self.cares: list[Care] = []

    def load(self) -> EngineLoad:
        return self.told

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        self.cares.append(care)
        return await super().ingest(clip, care)

    def answer(self, question: Question) -> Any:
        self.cares.append(question.care)
        return super().answer(question)


class StuckEngine(LoadedEngine):
    """Takes half a minute for each clip of streams whose ids begin so."""

    def __init__(self, beginning: str, **options: Any) -> None:
        super().__init__(**options)
        self._beginning = beginning

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        if clip.stream_id.startswith(self._beginning):
            await self._clock.sleep(30.0)
        return await super().ingest(clip, care)


LOWEST = RUNGS[-1].level
SLO = SchedulerSection(step_down_s=1.0, step_up_s=4.0, refuse_after=1.25)
LIVE = StreamOptions(clock="live", gate_threshold=0.0)


def governed_hub(engine: LoadedEngine, clock: ManualClock, **options: Any) -> Any:
    options = {"scheduler": SLO, **options}
    return running_hub(engine=engine, clock=clock, pool=InlineExecutor(), **options)


async def turns() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def pass_time(clock: ManualClock, seconds: float) -> None:
    for _ in range(int(seconds / 0.25)):
        clock.advance(0.25)
        await turns()


async def feed(hub: StreamHub, stream: Any, clock: ManualClock, seconds: int, fps: int = 2) -> None:
    """Send frames as a camera does."""
    start_s = clock.now_s()
    for index in range(seconds * fps):
        stream.push(
            make_message(start_s + index / fps, received_at_s=clock.now_s(), sequence=index)
        )
        clock.advance(1 / fps)
        await turns()


async def test_a_question_that_would_be_far_too_late_is_refused_with_when_to_come_back() -> None:
    clock, metrics = ManualClock(), Metrics()
    engine = LoadedEngine(clock=clock)
    async with governed_hub(engine, clock, metrics=metrics) as hub:
        stream = await hub.open_stream(options=LIVE)
        await feed(hub, stream, clock, 2)
        engine.told = EngineLoad(question_wait_s=5.0, question_s=0.1)
        with pytest.raises(Overloaded) as refused:
            await ask(stream)
        assert refused.value.retry_after_s == pytest.approx(3.85)
        assert (
            metrics.registry.get_sample_value(
                "onlooker_admissions_total", {"kind": "question", "verdict": "refuse"}
            )
            == 1
        )
        engine.told = replace(engine.told, question_wait_s=0.0)
        assert await ask(stream)


async def test_a_question_that_will_be_late_gets_less_to_look_at() -> None:
    clock = ManualClock()
    engine = LoadedEngine(clock=clock)
    async with governed_hub(engine, clock) as hub:
        stream = await hub.open_stream(options=LIVE)
        await feed(hub, stream, clock, 2)
        await ask(stream)
        assert engine.cares[-1].memory_share == 1.0
        engine.told = EngineLoad(question_wait_s=1.0, question_s=0.1)
        await ask(stream)
        assert engine.cares[-1].memory_share == 0.5


async def test_requests_carry_class_deadline_and_tier() -> None:
    clock = ManualClock()
    engine = LoadedEngine(clock=clock)
    async with governed_hub(engine, clock) as hub:
        stream = await hub.open_stream(options=replace(LIVE, tier=Tier.BACKGROUND))
        await feed(hub, stream, clock, 2)
        clip = engine.cares[-1].ticket
        assert clip is not None
        assert (clip.request_class, clip.tier) == (RequestClass.INGEST, Tier.BACKGROUND)
        assert clip.due_at_s - clip.arrived_at_s == SLO.background.lag_s
        await ask(stream, tier=Tier.INTERACTIVE)
        question = engine.cares[-1].ticket
        assert question is not None
        assert question.request_class is RequestClass.QUESTION
        assert question.due_at_s - question.arrived_at_s == SLO.interactive.ttft_s
        assert question.tpot_s == SLO.interactive.tpot_s


async def test_under_load_quality_falls_step_by_step_and_the_source_is_told() -> None:
    clock, metrics = ManualClock(), Metrics()
    engine = LoadedEngine(clock=clock)
    async with governed_hub(engine, clock, metrics=metrics) as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=500)
        await feed(hub, stream, clock, 4)
        waiting_events(events)
        engine.told = EngineLoad(load_ratio=1.0)
        levels = []
        for _ in range(12):
            await feed(hub, stream, clock, 2)
            levels.append(stream.status().quality_level)
        assert levels == sorted(levels)
        assert levels[0] < levels[-1] == LOWEST
        told = waiting_events(events)
        wishes = [event for event in told if isinstance(event, PaceChanged)]
        assert wishes[-1].fps == pytest.approx(2 / 8, rel=0.1)
        assert wishes[-1].width == SMALL.frame_width / 2
        dropped = [event.reason for event in told if isinstance(event, FrameAck) and event.reason]
        assert set(dropped) == {DropReason.OVERLOAD}
        assert (
            metrics.registry.get_sample_value("onlooker_streams_at_level", {"level": str(LOWEST)})
            == 1
        )
        engine.told = EngineLoad(load_ratio=0.1)
        await pass_time(clock, 60)
        assert stream.status().quality_level == 0
        assert stream.pace.fps == pytest.approx(2, rel=0.1)
        events.close()


async def test_frames_left_out_by_quality_cost_no_decoding() -> None:
    clock, metrics = ManualClock(), Metrics()
    engine = LoadedEngine(clock=clock)
    async with governed_hub(engine, clock, metrics=metrics) as hub:
        stream = await hub.open_stream(options=LIVE)
        await feed(hub, stream, clock, 4)
        engine.told = EngineLoad(load_ratio=1.0)
        await feed(hub, stream, clock, 20)
        await until(lambda: stream.status().quality_level == LOWEST)
        decoded = metrics.registry.get_sample_value(
            "onlooker_frame_decode_seconds_count", {"codec": "jpeg"}
        )
        clock.advance(2.0)
        stream.push(make_message(clock.now_s(), received_at_s=clock.now_s()))
        before = stream.status().dropped.get(DropReason.OVERLOAD, 0)
        await feed(hub, stream, clock, 4)  # two that follow each other are kept
        assert stream.status().dropped[DropReason.OVERLOAD] >= before + 5
        after = metrics.registry.get_sample_value(
            "onlooker_frame_decode_seconds_count", {"codec": "jpeg"}
        )
        assert decoded is not None
        assert after is not None
        assert after - decoded <= 3


async def test_a_stream_on_the_virtual_clock_gives_nothing_up() -> None:
    clock = ManualClock()
    engine = LoadedEngine(clock=clock)
    engine.told = EngineLoad(load_ratio=1.0, question_wait_s=60.0)
    async with governed_hub(engine, clock) as hub:
        stream = await hub.open_stream(options=StreamOptions(clock="virtual", gate_threshold=0.0))
        for index in range(40):
            await stream.push_wait(make_message(index / 2, received_at_s=clock.now_s()))
            clock.advance(0.5)
        assert stream.status().quality_level == 0
        assert not stream.status().dropped
        assert await ask(stream)


async def test_first_come_first_served_refuses_and_degrades_nothing() -> None:
    clock = ManualClock()
    engine = LoadedEngine(clock=clock)
    engine.told = EngineLoad(load_ratio=1.0, question_wait_s=60.0, clip_s=10.0)
    fcfs = SchedulerSection(policy="fcfs")
    async with governed_hub(engine, clock, scheduler=fcfs) as hub:
        stream = await hub.open_stream(options=LIVE)
        await feed(hub, stream, clock, 12)
        assert stream.status().quality_level == 0
        assert await ask(stream)


async def test_a_stream_is_refused_when_the_lowest_quality_would_not_do() -> None:
    clock = ManualClock()
    engine = LoadedEngine(clock=clock)
    async with governed_hub(engine, clock) as hub:
        await hub.open_stream(options=LIVE)
        engine.told = EngineLoad(clip_s=10.0)
        with pytest.raises(Overloaded) as refused:
            await hub.open_stream(options=LIVE)
        assert refused.value.retry_after_s == SLO.step_up_s


async def test_a_late_frame_gives_way_before_it_is_decoded() -> None:
    clock, metrics = ManualClock(), Metrics()
    engine = LoadedEngine(clock=clock, ingest_s=4.0)
    async with governed_hub(engine, clock, metrics=metrics) as hub:
        stream = await hub.open_stream(options=LIVE)
        await feed(hub, stream, clock, 12)
        await pass_time(clock, 10)
        dropped = stream.status().dropped
        assert dropped[DropReason.LATE] > 0
        assert stream.status().clips > 0  # and yet it is not blind


async def test_what_is_kept_of_a_stream_on_a_slow_engine_is_seen_within_its_lag() -> None:
    """The next frame waits where a newer one takes its place, and not in a queue."""
    clock = ManualClock()
    engine = LoadedEngine(clock=clock, ingest_s=1.3)
    async with governed_hub(engine, clock) as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=2000)
        start_s, arrived = clock.now_s(), {}
        lags = []
        for index in range(240):
            if index % 4 == 0:
                capture_s = start_s + index / 4
                arrived[capture_s] = clock.now_s()
                stream.push(make_message(capture_s, received_at_s=clock.now_s(), sequence=index))
            clock.advance(0.25)
            await turns()
            lags += [
                clock.now_s() - arrived[event.start_s]
                for event in waiting_events(events)
                if isinstance(event, ClipSeen)
            ]
        assert len(lags) >= 60 / 1.3 * 0.75
        assert max(lags[5:]) <= SLO.standard.lag_s
        events.close()


async def test_streams_that_join_at_once_find_their_rung_at_once() -> None:
    clock = ManualClock()
    engine = LoadedEngine(clock=clock)
    async with governed_hub(engine, clock) as hub:
        # Twenty clips a second would take the engine twice over: pairs make that 1.0.
        engine.told = EngineLoad(clip_s=0.1, num_steps=1000)
        streams = [await hub.open_stream(options=LIVE) for _ in range(20)]
        await pass_time(clock, 0.5)
        levels = [stream.status().quality_level for stream in streams]
        assert set(levels) == {3, 4}
        for stream in streams[6:]:
            await hub.close_stream(stream.id, "enough")
        engine.told = EngineLoad(clip_s=0.1, num_steps=1000, load_ratio=0.4, frames_ratio=0.4)
        await pass_time(clock, 60)
        assert {stream.status().quality_level for stream in streams[:6]} == {0}


async def test_one_tenants_own_trouble_lowers_nobody() -> None:
    clock = ManualClock()
    engine = StuckEngine("trouble", clock=clock)
    async with governed_hub(engine, clock) as hub:
        streams = [await hub.open_stream(f"{name}/door", LIVE) for name in ("calm", "trouble")]
        honest, other = streams
        for _ in range(40):
            for stream in streams:
                stream.push(make_message(clock.now_s(), received_at_s=clock.now_s()))
            await pass_time(clock, 0.5)
        assert other.status().dropped
        assert not honest.status().dropped
        assert honest.status().quality_level == 0


async def test_trouble_that_all_tenants_have_lowers_all() -> None:
    clock = ManualClock()
    engine = StuckEngine("", clock=clock)
    async with governed_hub(engine, clock) as hub:
        streams = [await hub.open_stream(f"{name}/door", LIVE) for name in ("one", "two")]
        for _ in range(40):
            for stream in streams:
                stream.push(make_message(clock.now_s(), received_at_s=clock.now_s()))
            await pass_time(clock, 0.5)
        assert all(stream.status().quality_level > 0 for stream in streams)
