"""A tier that breaks on purpose, in ways that its seed repeats."""

import threading
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from onlooker.cache_store.counters import TierCounters
from onlooker.cache_store.envelope import EncodedRecord, seal, unseal
from onlooker.cache_store.errors import RecordCorrupt, RecordForeign
from onlooker.cache_store.head import SegmentHead
from onlooker.cache_store.key import SegmentKey
from onlooker.cache_store.tier import MISS, Fetch, FetchOutcome, PutOutcome, StoreTier, TierStats


@dataclass(slots=True)
class FaultRates:
    """The share (0-1) of keys, or calls, that meet each fault. May be changed while in use."""

    read_error: float = 0.0
    lost: float = 0.0
    """Reads that miss though the record is there."""
    flipped: float = 0.0
    """Reads in which one bit of the record is wrong."""
    truncated: float = 0.0
    swapped: float = 0.0
    """Reads that bring another record."""
    write_error: float = 0.0
    refused: float = 0.0
    unreachable: float = 0.0
    """Calls that fail as a whole, for all their keys."""


class FaultyTier:
    """Wraps a tier and makes faults, which its totals count like those of the inner tier.

    `pause` holds writers off until `resume`, so that a test can fill a queue.
    """

    def __init__(self, inner: StoreTier, *, seed: int, rates: FaultRates | None = None) -> None:
        self.name = inner.name
        self.knows_keys = inner.knows_keys
        self.rates = rates or FaultRates()
        self._inner = inner
        self._random = Random(seed)
        self._lock = threading.Lock()
        self._running = threading.Event()
        self._running.set()
        self.came_in = threading.Event()
        """A write has begun."""
        self._last: EncodedRecord | None = None
        self._counters = TierCounters()

    def pause(self) -> None:
        """Block writes from now on."""
        self._running.clear()

    def resume(self) -> None:
        """Let blocked writes go on."""
        self._running.set()

    def get_many(self, keys: Sequence[SegmentKey]) -> list[Fetch]:
        if self._happens(self.rates.unreachable):
            self._counters.add(read_errors=len(keys))
            return [Fetch(FetchOutcome.ERROR)] * len(keys)
        return [
            self._spoil(fetch, key)
            for fetch, key in zip(self._inner.get_many(keys), keys, strict=True)
        ]

    def put_many(self, records: Sequence[EncodedRecord]) -> list[PutOutcome]:
        self.came_in.set()
        self._running.wait()
        if self._happens(self.rates.unreachable):
            self._counters.add(write_errors=len(records))
            return [PutOutcome.ERROR] * len(records)
        planned: list[PutOutcome | None] = []
        for _ in records:
            if self._happens(self.rates.write_error):
                planned.append(PutOutcome.ERROR)
            elif self._happens(self.rates.refused):
                planned.append(PutOutcome.REFUSED)
            else:
                planned.append(None)
        self._counters.add(
            write_errors=planned.count(PutOutcome.ERROR),
            refused=planned.count(PutOutcome.REFUSED),
        )
        stored = iter(
            self._inner.put_many(
                [record for record, fault in zip(records, planned, strict=True) if fault is None]
            )
        )
        return [next(stored) if fault is None else fault for fault in planned]

    def delete_many(self, keys: Sequence[SegmentKey]) -> bool:
        return not self._happens(self.rates.unreachable) and self._inner.delete_many(keys)

    def contains_many(self, keys: Sequence[SegmentKey]) -> list[bool | None]:
        if self._happens(self.rates.unreachable):
            return [None] * len(keys)
        return self._inner.contains_many(keys)

    def keys(self, prefix: str = "") -> list[SegmentKey] | None:
        return None if self._happens(self.rates.unreachable) else self._inner.keys(prefix)

    def scan(
        self, prefix: str = "", *, skip: Container[SegmentKey] = ()
    ) -> Iterator[SegmentHead | None]:
        if self._happens(self.rates.unreachable):
            yield None
        else:
            yield from self._inner.scan(prefix, skip=skip)

    def used_bytes(self) -> int:
        return self._inner.used_bytes()

    def stats(self) -> TierStats:
        """The inner tier's totals with the made faults added."""
        inner = self._inner.stats()
        made = self._counters.snapshot(num_records=0, used_bytes=0)
        names = TierStats.__dataclass_fields__
        return TierStats(**{name: getattr(inner, name) + getattr(made, name) for name in names})

    def close(self) -> None:
        self.resume()
        self._inner.close()

    def _happens(self, rate: float) -> bool:
        with self._lock:
            return rate > 0 and self._random.random() < rate

    def _spoil(self, fetch: Fetch, key: SegmentKey) -> Fetch:
        if fetch.record is None:
            return fetch
        if self._happens(self.rates.read_error):
            self._counters.add(read_errors=1, hits=-1)
            return Fetch(FetchOutcome.ERROR)
        if self._happens(self.rates.lost):
            self._counters.add(misses=1, hits=-1)
            return MISS
        data = bytearray(b"".join(seal(fetch.record)))
        with self._lock:
            other, self._last = self._last, fetch.record
            bit, cut = self._random.randrange(8 * len(data)), self._random.randrange(len(data))
        if self._happens(self.rates.flipped):
            data[bit // 8] ^= 1 << bit % 8
        elif self._happens(self.rates.truncated):
            del data[cut:]
        elif other is not None and other.key != key and self._happens(self.rates.swapped):
            data = bytearray(b"".join(seal(other)))
        else:
            return fetch
        return self._read_again(data, key)

    def _read_again(self, data: bytearray, key: SegmentKey) -> Fetch:
        try:
            return Fetch(FetchOutcome.HIT, unseal(data, key))
        except RecordCorrupt:
            self._counters.add(corrupt=1, hits=-1)
            return Fetch(FetchOutcome.CORRUPT)
        except RecordForeign:
            self._counters.add(foreign=1, hits=-1)
            return Fetch(FetchOutcome.FOREIGN)
