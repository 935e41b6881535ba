"""A tier that hangs, behind a time limit."""

import threading
from collections.abc import Container, Iterator, Sequence

from onlooker.cache_store.head import SegmentHead
from onlooker.cache_store.key import SegmentKey
from onlooker.cache_store.tier import Fetch, FetchOutcome
from onlooker.cache_store.tiers.memory import MemoryTier
from onlooker.cache_store.tiers.patient import PatientTier
from tests.fakes.waiting import WAIT_S
from tests.unit.cache_store.factories import make_encoded, make_key, make_memory


class Hanging(MemoryTier):
    """Reads and deletions wait for `go_on`; `ended` is told of each that got through."""

    def __init__(self) -> None:
        super().__init__(budget_bytes=1 << 20, policy=make_memory()._policy)
        self.go_on = threading.Event()
        self.ended = threading.Semaphore(0)
        self.num_reads = 0

    def get_many(self, keys: Sequence[SegmentKey]) -> list[Fetch]:
        self.num_reads += 1
        self._hang()
        return super().get_many(keys)

    def delete_many(self, keys: Sequence[SegmentKey]) -> bool:
        self._hang()
        return super().delete_many(keys)

    def scan(
        self, prefix: str = "", *, skip: Container[SegmentKey] = ()
    ) -> Iterator[SegmentHead | None]:
        self._hang()
        yield from super().scan(prefix, skip=skip)

    def _hang(self) -> None:
        assert self.go_on.wait(WAIT_S)
        self.ended.release()


def make(timeout_s: float = 0.01) -> tuple[Hanging, PatientTier]:
    inner = Hanging()
    inner.put_many([make_encoded(index) for index in range(200)])
    return inner, PatientTier(inner, timeout_s=timeout_s)


def test_a_read_that_hangs_is_an_error_within_its_limit() -> None:
    inner, tier = make()
    assert tier.get_many([make_key(0)]) == [Fetch(FetchOutcome.ERROR)]
    assert list(tier.scan()) == [None]
    inner.go_on.set()


def test_while_a_read_hangs_no_other_is_tried() -> None:
    inner, tier = make()
    tier.get_many([make_key(0)])
    assert tier.get_many([make_key(1)]) == [Fetch(FetchOutcome.ERROR)]
    assert inner.num_reads == 1
    inner.go_on.set()


def test_reads_go_on_once_the_hanging_one_has_ended() -> None:
    inner, tier = make()
    tier.get_many([make_key(0)])
    inner.go_on.set()
    assert inner.ended.acquire(timeout=WAIT_S)
    while tier.get_many([make_key(1)])[0].outcome is FetchOutcome.ERROR:
        pass
    assert tier.get_many([make_key(1)])[0].record is not None


def test_a_deletion_that_hangs_is_told_as_not_reached_and_done_late() -> None:
    inner, tier = make()
    assert not tier.delete_many([make_key(0)])
    inner.go_on.set()
    assert inner.ended.acquire(timeout=WAIT_S)
    while inner.contains_many([make_key(0)])[0]:
        pass


def test_reads_go_on_while_a_deletion_hangs() -> None:
    inner, tier = make()
    tier.delete_many([make_key(0)])
    while not tier._reads.call(lambda: True, otherwise=False):
        pass
    inner.go_on.set()


def test_a_scan_goes_through_all_heads_in_parts() -> None:
    inner, tier = make(WAIT_S)
    inner.go_on.set()
    assert [head.key.index for head in tier.scan() if head is not None] == list(range(200))


def test_what_is_not_there_costs_no_call() -> None:
    inner, tier = make()
    inner.go_on.set()
    assert tier.get_many([make_key(999)]) == [Fetch(FetchOutcome.MISS)]
