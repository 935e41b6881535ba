"""What a tier lost is written to it again, from wherever it still is."""

from collections.abc import Sequence
from pathlib import Path

from onlooker.cache_store.key import SegmentKey
from onlooker.cache_store.refill import Refill
from onlooker.cache_store.tiers.memory import MemoryTier
from tests.fakes.faulty_tier import FaultRates, FaultyTier
from tests.fakes.waiting import WAIT_S
from tests.unit.cache_store.factories import (
    make_disk,
    make_encoded,
    make_key,
    make_memory,
    make_record,
    make_store,
    make_write_out,
)

SIZE = make_encoded().resident_bytes
KEYS = [make_key(index) for index in range(5)]


class Shared(MemoryTier):
    """A Redis in RAM."""

    name = "redis"

    def __init__(self) -> None:
        super().__init__(budget_bytes=1 << 20, policy=make_memory()._policy)


class Asked(FaultyTier):
    """Counts how often it was asked what it has."""

    num_asked = 0

    def contains_many(self, keys: Sequence[SegmentKey]) -> list[bool | None]:
        self.num_asked += 1
        return super().contains_many(keys)


def asked(tier: Asked, count: int) -> None:
    while tier.num_asked < count:
        pass


class Told:
    """Hears what a refill sees."""

    def __init__(self) -> None:
        self.stored: list[SegmentKey] = []
        self.lost: list[SegmentKey] = []
        self.deleted: list[SegmentKey] = []

    def refill(self, memory: MemoryTier, tier: MemoryTier | FaultyTier) -> Refill:
        out = make_write_out(tier)
        out.start(on_stored=lambda keys: None, on_failed=lambda keys: None)
        return Refill(
            memory,
            [out],
            on_stored=lambda name, keys: self.stored.extend(keys),
            on_lost=lambda name, keys: self.lost.extend(keys),
            is_wanted=lambda key: key not in self.deleted,
            flush_s=WAIT_S,
            retry_s=0.001,
        )


def filled(count: int = 5) -> MemoryTier:
    memory = make_memory()
    memory.put_many([make_encoded(index) for index in range(count)])
    return memory


def await_end(refill: Refill) -> None:
    while refill.is_doubted("redis"):
        pass
    assert refill.close(WAIT_S)


def test_a_doubt_ends_once_the_tier_has_what_ram_has() -> None:
    told, redis = Told(), Shared()
    redis.put_many([make_encoded(3)])
    refill = told.refill(filled(), redis)
    refill.begin("redis")
    await_end(refill)
    assert redis.keys() == KEYS
    assert sorted(set(told.stored)) == KEYS
    assert told.lost == [key for key in KEYS if key != make_key(3)]
    assert (refill.num_doubts, refill.num_written) == (1, 4)


def test_a_tier_that_is_away_stays_in_doubt_until_it_is_back() -> None:
    told, inner = Told(), Shared()
    redis = Asked(inner, seed=0, rates=FaultRates(unreachable=1.0))
    refill = told.refill(filled(), redis)
    refill.begin("redis")
    asked(redis, 3)
    assert refill.is_doubted("redis")
    redis.rates = FaultRates()
    await_end(refill)
    assert inner.keys() == KEYS


def test_a_tier_that_was_only_away_is_not_said_to_lack_anything_and_not_written_to() -> None:
    told, inner = Told(), Shared()
    inner.put_many([make_encoded(index) for index in range(5)])
    redis = Asked(inner, seed=0, rates=FaultRates(unreachable=1.0))
    refill = told.refill(filled(), redis)
    refill.begin("redis")
    asked(redis, 3)
    redis.rates = FaultRates()
    await_end(refill)
    assert (told.lost, refill.num_written) == ([], 0)
    assert sorted(told.stored) == KEYS


def test_what_was_deleted_meanwhile_is_not_written_again() -> None:
    told, redis = Told(), Shared()
    told.deleted = KEYS[:2]
    refill = told.refill(filled(), redis)
    refill.begin("redis")
    await_end(refill)
    assert redis.keys() == KEYS[2:]


def test_reading_for_a_refill_is_no_use_of_a_record() -> None:
    memory = filled(2)
    assert memory.peek_many([make_key(1), make_key(9)]).keys() == {make_key(1)}
    assert (memory.stats().hits, memory.stats().misses) == (0, 0)


def test_a_refill_that_cannot_end_does_not_hold_up_the_end() -> None:
    told = Told()
    refill = told.refill(filled(), FaultyTier(Shared(), seed=0, rates=FaultRates(unreachable=1.0)))
    refill.begin("redis")
    assert refill.close(WAIT_S)
    assert refill.is_doubted("redis")


def test_a_store_fills_redis_from_its_disk_and_says_when(tmp_path: Path) -> None:
    doubts: list[Sequence[SegmentKey]] = []
    redis = Shared()
    store = make_store(
        make_disk(tmp_path),
        redis,
        memory=make_memory(2 * SIZE),
        on_doubt=lambda name, keys: doubts.append(keys),
    )
    for index in range(5):
        store.put(make_record(index))
    assert store.flush(WAIT_S)
    redis.delete_many(KEYS)
    store.doubt("redis")
    while not store.is_kept("redis"):
        pass
    assert redis.keys() == KEYS
    assert store.is_kept("disk")
    assert list(doubts[0]) == []
    assert sorted(key for keys in doubts for key in keys) == KEYS
    store.check_integrity()
    store.close(WAIT_S)


def test_the_last_copy_is_written_down_when_ram_evicts_it_during_a_doubt() -> None:
    inner = Shared()
    redis = FaultyTier(inner, seed=0)
    store = make_store(redis, memory=make_memory(2 * SIZE))
    for index in range(2):
        store.put(make_record(index))
    assert store.flush(WAIT_S)
    inner.delete_many(KEYS)
    store.note_may_evict("redis", True)  # so that only eviction writes
    store.doubt("redis")
    for index in (2, 3):
        store.put(make_record(index))
    assert store.flush(WAIT_S)
    assert inner.keys() == KEYS[:4]
    store.close(WAIT_S)


def test_a_tier_that_evicts_is_not_kept() -> None:
    store = make_store(Shared())
    store.note_may_evict("redis", True)
    assert not store.is_kept("redis")
    store.note_may_evict("redis", False)
    assert store.is_kept("redis")
    store.close(WAIT_S)
