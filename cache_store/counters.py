"""Counts of what a tier does, as all tiers count."""

import threading
from collections.abc import Sequence
from dataclasses import fields

from onlooker.cache_store.tier import Fetch, FetchOutcome, PutOutcome, TierStats

_NAMES = frozenset(field.name for field in fields(TierStats))


class TierCounters:
    """Thread-safe totals under the names of `TierStats`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: dict[str, int] = {}

    def add(self, **amounts: int) -> None:
        """Add to some of the totals."""
        assert _NAMES.issuperset(amounts)
        with self._lock:
            for name, amount in amounts.items():
                self._totals[name] = self._totals.get(name, 0) + amount

    def add_fetches(self, fetches: Sequence[Fetch]) -> None:
        """Count what became of the keys of a read."""
        outcomes = [fetch.outcome for fetch in fetches]
        self.add(
            hits=outcomes.count(FetchOutcome.HIT),
            misses=outcomes.count(FetchOutcome.MISS),
            corrupt=outcomes.count(FetchOutcome.CORRUPT),
            foreign=outcomes.count(FetchOutcome.FOREIGN),
            read_errors=outcomes.count(FetchOutcome.ERROR),
            read_bytes=sum(fetch.record.payload.nbytes for fetch in fetches if fetch.record),
        )

    def add_puts(self, outcomes: Sequence[PutOutcome], sizes: Sequence[int]) -> None:
        """Count what became of the records of a write; `sizes` are theirs in bytes."""
        self.add(
            stored=outcomes.count(PutOutcome.STORED),
            refused=outcomes.count(PutOutcome.REFUSED),
            fenced=outcomes.count(PutOutcome.FENCED),
            write_errors=outcomes.count(PutOutcome.ERROR),
            written_bytes=sum(
                num_bytes
                for num_bytes, outcome in zip(sizes, outcomes, strict=True)
                if outcome is PutOutcome.STORED
            ),
        )

    def snapshot(self, *, num_records: int, used_bytes: int) -> TierStats:
        with self._lock:
            return TierStats(**self._totals, num_records=num_records, used_bytes=used_bytes)
