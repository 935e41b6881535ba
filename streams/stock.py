"""`StockTaker`: asks the engine now and then what is durable, and what it holds."""

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from onlooker.core.clock import Clock
from onlooker.core.errors import EngineDead, EngineRestarting, OnlookerError
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.engine.interface import Held, Stock, Waiting
from onlooker.streams.journaling import JournalKeeper

_log = logging.getLogger("onlooker.streams.stock")

COUNTED = (
    "hits", "misses", "corrupt", "foreign", "read_errors", "write_errors", "refused", "stored",
    "evicted", "failed", "error_replies",
)  # fmt: skip
"""The names of a tier's totals that become metrics."""


INTERVAL_S = 1.0
"""Seconds between two times of taking stock where no journal waits to be emptied."""


class TakesStock(Protocol):
    """The part of an engine that `StockTaker` asks."""

    async def take_stock(self, waiting: Waiting) -> Stock: ...

    async def next_life(self, after: int) -> int: ...


class StockTaker:
    """Lets the journal go of what is durable, and turns what the engine holds into metrics."""

    def __init__(
        self,
        engine: TakesStock,
        journal: JournalKeeper | None,
        *,
        clock: Clock,
        metrics: Metrics,
        note_remembered: Callable[[Mapping[StreamId, int]], None] = lambda remembered: None,
    ) -> None:
        """`note_remembered` is told how many bytes are remembered of each stream."""
        self._engine, self._journal = engine, journal
        self._note_remembered = note_remembered
        self._clock, self._metrics = clock, metrics
        self._interval_s = INTERVAL_S if journal is None else journal.settle_s
        self._totals: dict[tuple[str, ...], int] = {}

    async def run(self) -> None:
        """Take stock until cancelled, or the engine is gone for good."""
        with contextlib.suppress(EngineDead):
            while True:
                await self._clock.sleep(self._interval_s)
                await self._engine.next_life(0)
                try:
                    await self.take()
                except (EngineDead, EngineRestarting):
                    continue  # `next_life` waits for another life, or ends this
                except OnlookerError as error:
                    _log.warning("the engine could not be asked what it holds", exc_info=error)

    async def take(self) -> None:
        """Take stock once. Raises what `Engine.take_stock` raises."""
        waiting = {} if self._journal is None else self._journal.waiting()
        stock = await self._engine.take_stock(waiting)
        for tier, counts in stock.tiers.items():
            self._tell_tier(tier, counts)
        for move, total in stock.moves.items():
            self._metrics.store_moves.labels(move).inc(self._gained(total, "moves", move))
        if stock.held is not None:
            self._tell_held(stock.held)
        self._note_remembered(stock.remembered)
        self._metrics.store_doubted.set(not stock.is_kept)
        if self._journal is not None:
            self._journal.rely(stock.is_kept)
            for stream_id, indices in stock.durable.items():
                self._journal.settle(stream_id, indices)
            self._metrics.journal_bytes.set((await self._journal.stats()).num_bytes)

    def _tell_tier(self, tier: str, counts: Mapping[str, int]) -> None:
        metrics = self._metrics
        for name in COUNTED:
            gained = self._gained(counts.get(name, 0), "tier", tier, name)
            metrics.store_events.labels(tier, name).inc(gained)
        metrics.store_bytes.labels(tier).set(counts.get("used_bytes", 0))
        metrics.store_records.labels(tier).set(counts.get("num_records", 0))
        metrics.store_queued_bytes.labels(tier).set(counts.get("queued_bytes", 0))

    def _tell_held(self, held: Held) -> None:
        self._metrics.memory_device_segments.set(held.num_segments)
        self._metrics.memory_device_bytes.set(held.num_bytes)
        self._metrics.memory_indexed_clips.set(held.num_indexed)
        self._metrics.memory_index_bytes.set(held.index_bytes)

    def _gained(self, total: int, *name: str) -> int:
        """By how much a total has grown; an engine that was started again counts from 0."""
        before, self._totals[name] = self._totals.get(name, 0), total
        return total - before if total >= before else total
