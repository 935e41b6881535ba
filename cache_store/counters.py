"""Counts of what a tier did."""

import threading
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class TierStats:
    """Totals since the tier was opened, and what it holds now."""

    hits: int = 0
    misses: int = 0
    corrupt: int = 0
    """Damaged records that were read. The caller sees a miss; `misses` does not count them."""
    foreign: int = 0
    """Records of something else that were read. The caller sees a miss; `misses` does not count
    them."""
    read_errors: int = 0
    """Keys that could not be read for now: unreachable, timed out, or an I/O error."""
    write_errors: int = 0
    """Keys that could not be written for now: unreachable, timed out, or an I/O error."""
    stored: int = 0
    refused: int = 0
    """Records for which there was no room."""
    deleted: int = 0
    evicted: int = 0
    evicted_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    num_records: int = 0
    used_bytes: int = 0


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

    def snapshot(self, *, num_records: int, used_bytes: int) -> TierStats:
        with self._lock:
            return TierStats(**self._totals, num_records=num_records, used_bytes=used_bytes)
