"""`StockTaker`: what the engine holds becomes metrics, over restarts."""

import asyncio

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import EngineDead, EngineFailed, EngineRestarting
from onlooker.core.metrics import Metrics
from onlooker.engine.interface import Held, Stock, Waiting
from onlooker.streams.stock import INTERVAL_S, StockTaker


def stock(*, hits: int = 0, demoted: int = 0, size: int = 0) -> Stock:
    disk = {"hits": hits, "num_records": size, "used_bytes": 10 * size, "queued_bytes": 100 * size}
    held = Held(num_segments=size, num_bytes=2 * size, num_indexed=3 * size, index_bytes=4 * size)
    return Stock(tiers={"disk": disk}, moves={"demoted": demoted}, held=held)


class ScriptedStore:
    """Answers one after the other; an exception is raised."""

    def __init__(self, *answers: Stock | Exception) -> None:
        self.answers = list(answers)
        self.is_gone = False

    async def take_stock(self, waiting: Waiting) -> Stock:
        answer = self.answers.pop(0)
        self.is_gone = isinstance(answer, EngineDead)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def next_life(self, after: int) -> int:
        if self.is_gone:
            raise EngineDead("gone")
        return 1


class Taken:
    """A stock taker, and the metrics it fills."""

    def __init__(self, *answers: Stock | Exception) -> None:
        self.metrics, self.clock, self.engine = Metrics(), ManualClock(), ScriptedStore(*answers)
        self.taker = StockTaker(self.engine, None, clock=self.clock, metrics=self.metrics)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"onlooker_{name}", labels)


async def test_what_the_engine_holds_is_told_as_it_is_now() -> None:
    taken = Taken(stock(size=7), stock(size=3))
    await taken.taker.take()
    await taken.taker.take()
    assert taken.value("memory_device_segments") == 3
    assert taken.value("memory_device_bytes") == 6
    assert taken.value("memory_indexed_clips") == 9
    assert taken.value("memory_index_bytes") == 12
    assert taken.value("store_records", tier="disk") == 3
    assert taken.value("store_bytes", tier="disk") == 30
    assert taken.value("store_queued_bytes", tier="disk") == 300


async def test_totals_are_counted_once_and_go_on_when_the_engine_begins_at_0_again() -> None:
    totals = (5, 8, 0, 2)
    taken = Taken(*(stock(hits=total, demoted=total) for total in totals))
    for counted in (5, 8, 8, 10):
        await taken.taker.take()
        assert taken.value("store_events_total", tier="disk", event="hits") == counted
        assert taken.value("store_moves_total", move="demoted") == counted


async def test_a_store_that_cannot_be_relied_on_is_told() -> None:
    taken = Taken(Stock(), Stock(is_kept=False), Stock())
    for doubted in (0, 1, 0):
        await taken.taker.take()
        assert taken.value("store_doubted") == doubted


async def test_an_engine_without_memory_tells_nothing() -> None:
    taken = Taken(Stock())
    await taken.taker.take()
    assert taken.value("store_records", tier="disk") is None
    assert taken.value("memory_device_bytes") == 0


@pytest.mark.parametrize("failure", [EngineFailed("for once"), EngineRestarting("a moment")])
async def test_it_asks_now_and_then_and_survives_a_failure_but_not_the_engine(
    failure: Exception,
) -> None:
    taken = Taken(failure, stock(size=3), EngineDead("gone"))
    running = asyncio.ensure_future(taken.taker.run())
    for left in (2, 1, 0, 0):
        await asyncio.sleep(0)
        taken.clock.advance(INTERVAL_S)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(taken.engine.answers) == left
    assert taken.value("memory_device_segments") == 3
    assert running.done()
    await running
