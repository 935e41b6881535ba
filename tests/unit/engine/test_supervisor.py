"""An engine that dies is started again, a bounded number of times; on a clock that tests move."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import EngineDead, EngineFailed, EngineRestarting
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip
from onlooker.core.metrics import Metrics
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.config import RestartSection
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import IngestResult, Question
from onlooker.engine.supervisor import EngineSupervisor
from tests.fakes.pictures import make_clip
from tests.fakes.streams import SMALL, driven
from tests.fakes.waiting import until

S = StreamId("s")


@asynccontextmanager
async def supervised(
    clock: ManualClock, metrics: Metrics | None = None, *, engine: Any = None, **settings: Any
) -> AsyncIterator[tuple[EngineSupervisor, ScriptedEngine]]:
    engine = engine or ScriptedEngine(clock=clock, info=SMALL)
    supervisor = EngineSupervisor(
        engine,
        clock=clock,
        settings=RestartSection.model_validate(settings),
        metrics=metrics or Metrics(),
    )
    await supervisor.start(lambda line: None)
    try:
        yield supervisor, engine
    finally:
        await supervisor.close()


def restarts(metrics: Metrics, outcome: str) -> float | None:
    value = metrics.registry.get_sample_value
    return value("onlooker_engine_restarts_total", {"outcome": outcome})


async def test_whatever_is_asked_of_a_dead_engine_says_that_it_is_being_started() -> None:
    clock, metrics = ManualClock(), Metrics()
    async with supervised(clock, metrics) as (supervisor, engine):
        await supervisor.open_stream(S)
        engine.die()
        question = Question(text="what?", stream_id=S)
        for asked in (
            supervisor.ingest(make_clip()),
            supervisor.open_stream(S),
            supervisor.close_stream(S),
            supervisor.take_stock({}),
            anext(supervisor.answer(question)),
        ):
            with pytest.raises(EngineRestarting):
                await asked
        assert (supervisor.ready(), supervisor.healthy(), supervisor.life) == (False, True, 1)
        assert await driven(clock, supervisor.next_life(1)) == 2
        assert supervisor.ready()
        assert restarts(metrics, "started") == 1
        await supervisor.open_stream(S)  # it knows no stream any more
        await supervisor.ingest(make_clip())


async def test_an_engine_that_nobody_uses_is_looked_at() -> None:
    clock = ManualClock()
    async with supervised(clock, check_interval_s=5.0, min_backoff_s=0.0) as (supervisor, engine):
        waiting = asyncio.ensure_future(supervisor.next_life(1))
        await asyncio.sleep(0)
        engine.die()
        assert await driven(clock, waiting) == 2
        assert 5.0 <= clock.now_s() < 6.0


async def test_waits_double_and_end_when_there_were_enough() -> None:
    clock, metrics = ManualClock(), Metrics()
    limits: dict[str, Any] = {
        "max_restarts": 3,
        "min_backoff_s": 1.0,
        "max_backoff_s": 3.0,
        "window_s": 1000.0,
    }
    async with supervised(clock, metrics, **limits) as (supervisor, engine):
        waits = []
        for life in (1, 2, 3):
            engine.die()
            assert not supervisor.ready()
            died_at_s = clock.now_s()
            assert await driven(clock, supervisor.next_life(life)) == life + 1
            waits.append(round(clock.now_s() - died_at_s))
        assert waits == [1, 2, 3]
        engine.die()
        with pytest.raises(EngineDead):
            await supervisor.next_life(4)
        assert not supervisor.healthy()
        with pytest.raises(EngineDead):
            await supervisor.ingest(make_clip())
        assert restarts(metrics, "given_up") == 1


async def test_restarts_of_long_ago_do_not_count() -> None:
    clock = ManualClock()
    async with supervised(clock, max_restarts=1, window_s=100.0) as (supervisor, engine):
        for life in range(1, 5):
            engine.die()
            assert await driven(clock, supervisor.next_life(life)) == life + 1
            clock.advance(101.0)


async def test_a_start_that_fails_counts_and_is_tried_again() -> None:
    clock, metrics = ManualClock(), Metrics()
    failures = iter([False, True, True, False])
    engine = ScriptedEngine(clock=clock, info=SMALL, fail_start=lambda: next(failures))
    async with supervised(clock, metrics, engine=engine) as (supervisor, _):
        engine.die()
        assert await driven(clock, supervisor.next_life(1)) == 2
        assert (restarts(metrics, "failed"), restarts(metrics, "started")) == (2, 1)


async def test_a_failure_that_comes_with_the_death_is_no_failure_of_the_clip() -> None:
    clock = ManualClock()

    class Aborting(ScriptedEngine):
        async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
            self.die()
            raise EngineFailed("the engine ended with 'abort'")

    async with supervised(clock, engine=Aborting(info=SMALL)) as (supervisor, _):
        await supervisor.open_stream(S)
        with pytest.raises(EngineRestarting):
            await supervisor.ingest(make_clip())


async def test_whoever_waits_is_let_go_when_it_takes_too_long_or_ends() -> None:
    clock = ManualClock()
    limits: dict[str, Any] = {"min_backoff_s": 100.0, "max_backoff_s": 100.0, "wait_s": 10.0}
    async with supervised(clock, **limits) as (supervisor, engine):
        engine.die()
        with pytest.raises(EngineRestarting) as raised:
            await driven(clock, supervisor.wait_ready())
        assert raised.value.retry_after_s > 0
        assert 10.0 <= clock.now_s() < 11.0
        waiting = asyncio.ensure_future(supervisor.next_life(1))
        await asyncio.sleep(0)
    with pytest.raises(EngineDead):
        await waiting


async def test_late_news_of_a_death_do_not_end_the_next_life() -> None:
    clock = ManualClock()
    release = asyncio.Event()

    class Slow(ScriptedEngine):
        async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
            await release.wait()
            raise EngineDead("gone")

    async with supervised(clock, engine=Slow(info=SMALL), min_backoff_s=0.0) as (
        supervisor,
        engine,
    ):
        await supervisor.open_stream(S)
        late = asyncio.ensure_future(supervisor.ingest(make_clip()))
        await asyncio.sleep(0)
        engine.die()
        assert not supervisor.ready()
        assert await driven(clock, supervisor.next_life(1)) == 2
        release.set()
        with pytest.raises(EngineRestarting):
            await late
        await until(lambda: supervisor.ready())
        assert supervisor.life == 2
