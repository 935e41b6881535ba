"""Records in the RAM of this process, within a budget. Nothing is copied in or out."""

import threading
from collections.abc import Callable, Container, Iterator, Sequence

from onlooker.cache_store.counters import TierCounters
from onlooker.cache_store.envelope import EncodedRecord
from onlooker.cache_store.eviction import EvictionPolicy
from onlooker.cache_store.head import SegmentHead
from onlooker.cache_store.key import SegmentKey
from onlooker.cache_store.key_index import KeyIndex
from onlooker.cache_store.tier import MISS, Fetch, FetchOutcome, PutOutcome, TierStats


class MemoryTier:
    """See `StoreTier`. A record that is larger than the whole budget is refused.

    Args:
        budget_bytes: limit for the sum of `EncodedRecord.resident_bytes`.
        on_evicted: called with the victims, outside the lock, in the thread whose put evicted them.
    """

    name = "memory"
    knows_keys = True

    def __init__(
        self,
        *,
        budget_bytes: int,
        policy: EvictionPolicy,
        on_evicted: Callable[[Sequence[EncodedRecord]], None] | None = None,
    ) -> None:
        self.budget_bytes = budget_bytes
        self.on_evicted = on_evicted
        self._policy = policy
        self._lock = threading.Lock()
        self._records: KeyIndex[EncodedRecord] = KeyIndex()
        self._used_bytes = 0
        self._counters = TierCounters()

    def get_many(self, keys: Sequence[SegmentKey]) -> list[Fetch]:
        with self._lock:
            found = [self._records.get(key) for key in keys]
            for key, record in zip(keys, found, strict=True):
                if record is not None:
                    self._policy.used(key)
        fetches = [Fetch(FetchOutcome.HIT, record) if record else MISS for record in found]
        self._counters.add_fetches(fetches)
        return fetches

    def peek_many(self, keys: Sequence[SegmentKey]) -> dict[SegmentKey, EncodedRecord]:
        """Those records of these keys that are there. This counts neither as a read nor as a use
        of the record."""
        with self._lock:
            found = {key: self._records.get(key) for key in keys}
        return {key: record for key, record in found.items() if record is not None}

    def put_many(self, records: Sequence[EncodedRecord]) -> list[PutOutcome]:
        outcomes = []
        evicted: list[EncodedRecord] = []
        with self._lock:
            for record in records:
                self._drop(record.key)
                evicted += self._make_room(record.resident_bytes)
                if self._used_bytes + record.resident_bytes > self.budget_bytes:
                    outcomes.append(PutOutcome.REFUSED)
                    continue
                self._records.set(record.key, record)
                self._used_bytes += record.resident_bytes
                self._policy.added(record.key, record.resident_bytes)
                outcomes.append(PutOutcome.STORED)
        self._counters.add_puts(outcomes, [record.payload.nbytes for record in records])
        self._counters.add(
            evicted=len(evicted), evicted_bytes=sum(record.resident_bytes for record in evicted)
        )
        if evicted and self.on_evicted is not None:
            self.on_evicted(evicted)
        return outcomes

    def delete_many(self, keys: Sequence[SegmentKey]) -> bool:
        with self._lock:
            self._counters.add(deleted=sum(self._drop(key) is not None for key in keys))
        return True

    def contains_many(self, keys: Sequence[SegmentKey]) -> list[bool | None]:
        with self._lock:
            return [key in self._records for key in keys]

    def keys(self, prefix: str = "") -> list[SegmentKey]:
        with self._lock:
            return self._records.keys(prefix)

    def scan(
        self, prefix: str = "", *, skip: Container[SegmentKey] = ()
    ) -> Iterator[SegmentHead | None]:
        for key in self.keys(prefix):
            with self._lock:
                record = self._records.get(key)
            if record is not None and key not in skip:
                yield record.head

    def used_bytes(self) -> int:
        return self._used_bytes

    def stats(self) -> TierStats:
        return self._counters.snapshot(num_records=len(self._records), used_bytes=self._used_bytes)

    def check_integrity(self) -> None:
        """Assert what must always hold. For tests."""
        with self._lock:
            records = dict(self._records.items())
            total = sum(record.resident_bytes for record in records.values())
            assert total == self._used_bytes, (total, self._used_bytes)
            assert self._used_bytes <= self.budget_bytes
            assert all(key == record.key for key, record in records.items())
            everything = set(self._policy.victims(1 << 62))
            assert everything == records.keys()
            assert len(records) == len(self._records)

    def close(self) -> None:
        with self._lock:
            self._records.clear()
            self._used_bytes = 0

    def _make_room(self, needed_bytes: int) -> list[EncodedRecord]:
        """Evict until `needed_bytes` fit, or nothing when they are more than the whole budget."""
        excess_bytes = self._used_bytes + needed_bytes - self.budget_bytes
        if excess_bytes <= 0 or needed_bytes > self.budget_bytes:
            return []
        victims = self._policy.victims(excess_bytes)
        return [record for key in victims if (record := self._drop(key)) is not None]

    def _drop(self, key: SegmentKey) -> EncodedRecord | None:
        record = self._records.pop(key)
        if record is not None:
            self._used_bytes -= record.resident_bytes
            self._policy.removed(key)
        return record
