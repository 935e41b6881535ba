"""`Census`: counts what the workers hold of the streams' memories, now and then, for the metrics.

It asks over vLLM's side channel every few seconds, never with a request.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable

from onlooker.core.clock import Clock
from onlooker.core.errors import EngineDead, OnlookerError
from onlooker.core.metrics import Metrics
from onlooker.engine.vllm_adapter.wire import WorkerStats

_log = logging.getLogger("onlooker.engine.vllm")

INTERVAL_S = 5.0

Ask = Callable[[], Awaitable[list[WorkerStats]]]
"""Gets the figures of every worker."""

MOVES = ("demoted", "forgotten", "not_durable")
"""Totals of the store that become `Metrics.store_moves`."""


class Census:
    """Runs from `start` to `close`."""

    def __init__(self, ask: Ask, clock: Clock, metrics: Metrics) -> None:
        self._ask = ask
        self._clock = clock
        self._metrics = metrics
        self._moves: dict[str, int] = defaultdict(int)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ask."""
        self._task = asyncio.create_task(self._run(), name="census")

    async def close(self) -> None:
        """Stop asking. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def take(self) -> None:
        """Ask once. Raises what `VllmRunner.ask_workers` does."""
        workers = await self._ask()
        metrics = self._metrics
        metrics.memory_device_bytes.set(sum(worker.bytes for worker in workers))
        metrics.memory_device_segments.set(sum(worker.segments for worker in workers))
        metrics.memory_indexed_clips.set(sum(worker.index_rows for worker in workers))
        metrics.memory_index_bytes.set(sum(worker.index_bytes for worker in workers))
        for tier in workers[0].tiers:
            held = [worker.tiers[tier] for worker in workers]
            metrics.store_records.labels(tier).set(_sum(held, "num_records"))
            metrics.store_queued_bytes.labels(tier).set(_sum(held, "queued_bytes"))
        for move in MOVES:
            total = sum(worker.moves.get(move, 0) for worker in workers)
            # An engine that was started again counts from 0.
            metrics.store_moves.labels(move).inc(max(0, total - self._moves[move]))
            self._moves[move] = total

    async def _run(self) -> None:
        with contextlib.suppress(EngineDead):
            while True:
                await self._clock.sleep(INTERVAL_S)
                try:
                    await self.take()
                except EngineDead:
                    raise
                except OnlookerError as error:
                    _log.warning("the workers could not be counted", exc_info=error)


def _sum(parts: list[dict[str, int]], name: str) -> int:
    return sum(int(part[name]) for part in parts)
