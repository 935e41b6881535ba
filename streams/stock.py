"""`StockTaker`: asks the engine now and then what is durable, and how its store is."""

import contextlib
from collections.abc import Mapping
from typing import Protocol

from onlooker.core.clock import Clock
from onlooker.core.errors import EngineDead, EngineRestarting
from onlooker.core.metrics import Metrics
from onlooker.engine.interface import Stock, Waiting
from onlooker.streams.journaling import JournalKeeper

COUNTED = (
    "hits", "misses", "corrupt", "foreign", "read_errors", "write_errors", "refused", "stored",
    "evicted", "failed",
)  # fmt: skip
"""Totals of a tier that become metrics."""


INTERVAL_S = 1.0
"""Where no journal waits to be emptied."""


class TakesStock(Protocol):
    """As much of an engine as is asked here."""

    async def take_stock(self, waiting: Waiting) -> Stock: ...

    async def next_life(self, after: int) -> int: ...


class StockTaker:
    """Lets the journal go of what is durable, and turns the store's totals into metrics."""

    def __init__(
        self,
        engine: TakesStock,
        journal: JournalKeeper | None,
        *,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._engine, self._journal = engine, journal
        self._clock, self._metrics = clock, metrics
        self._interval_s = INTERVAL_S if journal is None else journal.settle_s
        self._totals: dict[tuple[str, str], int] = {}

    async def run(self) -> None:
        """Take stock until cancelled, or the engine is gone for good."""
        with contextlib.suppress(EngineDead):
            while True:
                await self._clock.sleep(self._interval_s)
                await self._engine.next_life(0)
                with contextlib.suppress(EngineRestarting):
                    await self.take()

    async def take(self) -> None:
        """Once. Raises what `Engine.take_stock` raises."""
        waiting = {} if self._journal is None else self._journal.waiting()
        stock = await self._engine.take_stock(waiting)
        for tier, totals in stock.tiers.items():
            self._count(tier, totals)
        if self._journal is not None:
            for stream_id, indices in stock.durable.items():
                self._journal.settle(stream_id, indices)
            self._metrics.journal_bytes.set((await self._journal.stats()).num_bytes)

    def _count(self, tier: str, totals: Mapping[str, int]) -> None:
        for name in COUNTED:
            total = totals.get(name, 0)
            before = self._totals.get((tier, name), 0)
            self._totals[tier, name] = total
            # An engine that was started again counts from 0.
            self._metrics.store_events.labels(tier, name).inc(
                total - before if total >= before else total
            )
        self._metrics.store_bytes.labels(tier).set(totals.get("used_bytes", 0))
