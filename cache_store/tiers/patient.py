"""A tier whose medium may hang, such as a folder on a network share, behind a time limit."""

from collections.abc import Container, Iterator, Sequence
from itertools import islice

from onlooker.cache_store.envelope import EncodedRecord
from onlooker.cache_store.head import SegmentHead
from onlooker.cache_store.key import SegmentKey
from onlooker.cache_store.patience import Patience
from onlooker.cache_store.tier import Fetch, FetchOutcome, PutOutcome, StoreTier, TierStats

_SCAN_BATCH = 64
"""How many heads are read within one time limit."""


class PatientTier:
    """See `StoreTier`. What the inner tier does not answer in time counts as an error of reading,
    or as not reached.

    Writes have no limit: only the writer thread waits for them, and a write that was given up could
    still happen later. The same holds for what the inner tier answers from RAM.

    Args:
        inner: its `contains_many`, `keys`, `used_bytes` and `stats` must not block.
        timeout_s: limit for one read, one deletion and the closing.
        read_threads: how many reads may run at once.
    """

    def __init__(self, inner: StoreTier, *, timeout_s: float, read_threads: int = 4) -> None:
        self.name = inner.name
        self.knows_keys = inner.knows_keys
        self._inner = inner
        self._timeout_s = timeout_s
        self._reads = Patience(f"{inner.name}-read", timeout_s=timeout_s, num_threads=read_threads)
        self._changes = Patience(f"{inner.name}-delete", timeout_s=timeout_s, num_threads=1)

    def get_many(self, keys: Sequence[SegmentKey]) -> list[Fetch]:
        if not any(self._inner.contains_many(keys)):
            return self._inner.get_many(keys)  # nothing is read
        late = [Fetch(FetchOutcome.ERROR)] * len(keys)
        return self._reads.call(lambda: self._inner.get_many(keys), otherwise=late)

    def put_many(self, records: Sequence[EncodedRecord]) -> list[PutOutcome]:
        return self._inner.put_many(records)

    def delete_many(self, keys: Sequence[SegmentKey]) -> bool:
        return self._changes.call(lambda: self._inner.delete_many(keys), otherwise=False)

    def contains_many(self, keys: Sequence[SegmentKey]) -> list[bool | None]:
        return self._inner.contains_many(keys)

    def keys(self, prefix: str = "") -> list[SegmentKey] | None:
        return self._inner.keys(prefix)

    def scan(
        self, prefix: str = "", *, skip: Container[SegmentKey] = ()
    ) -> Iterator[SegmentHead | None]:
        heads = self._inner.scan(prefix, skip=skip)
        late: list[SegmentHead | None] = [None]
        batch = late
        while batch:
            batch = self._reads.call(lambda: list(islice(heads, _SCAN_BATCH)), otherwise=late)
            yield from batch
            if batch is late:
                return

    def used_bytes(self) -> int:
        return self._inner.used_bytes()

    def stats(self) -> TierStats:
        return self._inner.stats()

    def close(self) -> None:
        self._changes.call(self._inner.close, otherwise=None)
        self._reads.close(0.0)
        self._changes.close(0.0)
