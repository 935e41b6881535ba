"""`Census`: what the workers hold becomes metrics, over all workers and restarts."""

import asyncio

from onlooker.core.clock import ManualClock
from onlooker.core.errors import EngineDead, EngineFailed
from onlooker.core.metrics import Metrics
from onlooker.engine.vllm_adapter.gateway.census import INTERVAL_S, Census
from onlooker.engine.vllm_adapter.wire import WorkerStats


def worker(num: int, **moves: int) -> WorkerStats:
    tier = {"num_records": num, "queued_bytes": 10 * num}
    return WorkerStats(
        bytes=100 * num, segments=num, index_rows=2 * num, index_bytes=7 * num, fetched=0,
        tiers={"disk": tier}, moves=moves, index_row_bytes=1,
    )  # fmt: skip


class Workers:
    """Answers one after the other; an exception is raised."""

    def __init__(self, *answers: list[WorkerStats] | Exception) -> None:
        self.answers = list(answers)

    async def __call__(self) -> list[WorkerStats]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


async def test_workers_are_added_up_and_totals_counted_once() -> None:
    metrics = Metrics()
    workers = Workers(
        [worker(1, demoted=2), worker(2, demoted=3)],
        [worker(4, demoted=4), worker(4, demoted=4)],
        [worker(1), worker(1)],  # both were started again
        [worker(1, demoted=1), worker(1)],
    )
    census = Census(workers, ManualClock(), metrics)
    await census.take()
    assert value(metrics, "onlooker_memory_device_bytes") == 300
    assert value(metrics, "onlooker_memory_device_segments") == 3
    assert value(metrics, "onlooker_memory_indexed_clips") == 6
    assert value(metrics, "onlooker_memory_index_bytes") == 21
    assert value(metrics, "onlooker_store_records", tier="disk") == 3
    assert value(metrics, "onlooker_store_queued_bytes", tier="disk") == 30
    assert value(metrics, "onlooker_store_moves_total", move="demoted") == 5
    for expected in (8, 8, 9):
        await census.take()
        assert value(metrics, "onlooker_store_moves_total", move="demoted") == expected


async def test_it_asks_now_and_then_and_survives_a_failure_but_not_the_engine() -> None:
    clock, metrics = ManualClock(), Metrics()
    workers = Workers(EngineFailed("for once"), [worker(3)], EngineDead("gone"))
    census = Census(workers, clock, metrics)
    census.start()
    for left in (2, 1, 0):
        await asyncio.sleep(0)
        clock.advance(INTERVAL_S)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(workers.answers) == left
    assert value(metrics, "onlooker_memory_device_segments") == 3
    await census.close()
    await census.close()
