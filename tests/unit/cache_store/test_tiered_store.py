import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from onlooker.cache_store.codecs.table import CODECS
from onlooker.cache_store.envelope import EncodedRecord
from onlooker.cache_store.key import SegmentKey, SegmentKind, StreamKey
from onlooker.cache_store.lookup import PutResult
from onlooker.cache_store.tier import Fetch, FetchOutcome, PutOutcome
from onlooker.cache_store.tiered_store import TieredStore
from onlooker.cache_store.tiers.memory import MemoryTier
from tests.fakes.faulty_tier import FaultRates, FaultyTier
from tests.fakes.waiting import WAIT_S
from tests.unit.cache_store.factories import (
    STREAM,
    assert_same,
    make_disk,
    make_encoded,
    make_key,
    make_memory,
    make_record,
    make_store,
)

SIZE = make_encoded().resident_bytes
OTHER = StreamKey("model-a", "tenant-a", "camera-2")


class Slot(MemoryTier):
    """A lower tier in RAM."""

    def __init__(self, name: str, budget_bytes: int = 1 << 22) -> None:
        self.name = name
        super().__init__(budget_bytes=budget_bytes, policy=make_memory()._policy)


def put_all(store: TieredStore, count: int, *, start: int = 0) -> None:
    for index in range(start, start + count):
        assert store.put(make_record(index)).result is PutResult.QUEUED
    assert store.flush(WAIT_S)


def tiers_of(store: TieredStore, *indexes: int) -> list[str | None]:
    lookups = store.get_many([make_key(index) for index in indexes])
    for lookup, index in zip(lookups, indexes, strict=True):
        assert lookup.key == make_key(index)
        if lookup.record is not None:
            assert lookup.outcome is FetchOutcome.HIT
            assert_same(lookup.record, make_record(index))
    return [lookup.tier for lookup in lookups]


def test_a_record_can_be_read_at_once_and_becomes_durable_everywhere() -> None:
    durable: list[tuple[int, str]] = []
    disk, redis = Slot("disk"), Slot("redis")
    store = make_store(disk, redis, on_durable=lambda key, name: durable.append((key.index, name)))
    receipt = store.put(make_record(1))
    assert (receipt.result, receipt.queued_for) == (PutResult.QUEUED, ("disk", "redis"))
    assert tiers_of(store, 1) == ["memory"]
    assert store.flush(WAIT_S)
    assert sorted(durable) == [(1, "disk"), (1, "redis")]
    assert disk.keys() == redis.keys() == [make_key(1)]
    assert store.close(WAIT_S)


def test_what_ram_gave_up_comes_from_below_and_is_promoted(tmp_path: Path) -> None:
    store = make_store(make_disk(tmp_path), memory=make_memory(3 * SIZE))
    put_all(store, 10)
    assert tiers_of(store, 9, 0, 0) == ["memory", "disk", "disk"]
    assert tiers_of(store, 0) == ["memory"]
    assert store.stats().hits == {"memory": 2, "disk": 1}
    assert store.stats().forgotten == 0
    store.check_integrity()
    store.close(WAIT_S)


def test_each_tier_is_asked_once_for_all_keys_it_may_have() -> None:
    disk, redis = Slot("disk"), Slot("redis")
    store = make_store(disk, redis, memory=make_memory(2 * SIZE))
    put_all(store, 6)
    disk.delete_many([make_key(1), make_key(2)])
    assert tiers_of(store, 5, 0, 1, 2, 99) == ["memory", "disk", "redis", "redis", None]
    assert (disk.stats().hits, disk.stats().misses) == (1, 3)
    assert (redis.stats().hits, redis.stats().misses) == (2, 1)
    assert store.stats().misses == 1
    store.close(WAIT_S)


def test_what_the_disk_lacks_is_asked_of_redis_while_the_disk_is_read() -> None:
    asked = threading.Event()

    class Slow(Slot):
        def get_many(self, keys: Sequence[SegmentKey]) -> list[Fetch]:
            if keys == [make_key(1)]:  # it ends only when Redis has been asked
                assert asked.wait(WAIT_S)
            return super().get_many(keys)

    class Asked(Slot):
        def get_many(self, keys: Sequence[SegmentKey]) -> list[Fetch]:
            asked.set()
            return super().get_many(keys)

    disk, redis = Slow("disk"), Asked("redis")
    disk.put_many([make_encoded(1)])
    redis.put_many([make_encoded(2)])
    store = make_store(disk, redis)
    assert tiers_of(store, 1, 2, 99) == ["disk", "redis", None]
    assert (store.stats().read_beside, store.stats().read_in_turn) == (1, 0)
    assert (disk.stats().misses, redis.stats().misses) == (2, 1)
    store.check_integrity()
    store.close(WAIT_S)


def test_where_too_many_reads_go_on_tiers_are_asked_in_turn() -> None:
    disk, redis = Slot("disk"), Slot("redis")
    disk.put_many([make_encoded(1)])
    redis.put_many([make_encoded(2)])
    store = make_store(disk, redis, max_beside=0)
    assert tiers_of(store, 1, 2) == ["disk", "redis"]
    assert (store.stats().read_beside, store.stats().read_in_turn) == (0, 1)
    store.close(WAIT_S)


def test_what_a_disk_lost_while_it_was_asked_comes_from_redis() -> None:
    class Losing(Slot):
        def get_many(self, keys: Sequence[SegmentKey]) -> list[Fetch]:
            self.delete_many([make_key(1)])
            return super().get_many(keys)

    disk, redis = Losing("disk"), Slot("redis")
    disk.put_many([make_encoded(1)])
    redis.put_many([make_encoded(1), make_encoded(2)])
    store = make_store(disk, redis)
    assert tiers_of(store, 1, 2) == ["redis", "redis"]
    store.close(WAIT_S)


def test_what_came_from_redis_is_written_to_disk_too() -> None:
    disk, redis = Slot("disk"), Slot("redis")
    redis.put_many([make_encoded(1)])
    store = make_store(disk, redis)
    assert tiers_of(store, 1) == ["redis"]
    assert store.flush(WAIT_S)
    assert disk.keys() == [make_key(1)]
    store.close(WAIT_S)


def test_what_a_tier_gave_up_is_written_when_it_is_back() -> None:
    disk = FaultyTier(Slot("disk"), seed=0, rates=FaultRates(unreachable=1.0))
    durable: list[tuple[SegmentKey, str]] = []
    told = lambda key, tier: durable.append((key, tier))  # noqa: E731
    store = make_store(disk, Slot("redis"), on_durable=told, max_attempts=1)
    put_all(store, 3)
    keys = [make_key(index) for index in range(4)]
    assert store.write_again(keys, "disk").result(WAIT_S) == 3
    assert store.flush(WAIT_S)
    disk.rates.unreachable = 0.0
    assert "disk" not in {tier for _, tier in durable}
    assert store.write_again(keys, "disk").result(WAIT_S) == 3
    assert store.flush(WAIT_S)
    assert [key for key, tier in durable if tier == "disk"] == keys[:3]
    assert store.write_again(keys, "disk").result(WAIT_S) == 0
    store.check_integrity()
    store.close(WAIT_S)


def test_a_full_queue_tells_the_caller_and_the_record_stays_readable() -> None:
    disk = FaultyTier(Slot("disk"), seed=0)
    store = make_store(disk, max_records=2)
    disk.pause()
    results = [store.put(make_record(index)).result for index in range(4)]
    assert results == [PutResult.QUEUED] * 2 + [PutResult.NOT_DURABLE] * 2
    assert store.stats().not_durable == 2
    assert tiers_of(store, 0, 1, 2, 3) == ["memory"] * 4
    disk.resume()
    assert store.flush(WAIT_S)
    assert tiers_of(store, 3) == ["memory"]
    assert disk.keys() == [make_key(0), make_key(1)]
    store.check_integrity()
    store.close(WAIT_S)


def test_a_record_that_was_not_durable_is_written_when_ram_gives_it_up() -> None:
    disk = FaultyTier(Slot("disk"), seed=0)
    store = make_store(disk, memory=make_memory(3 * SIZE), max_records=2)
    disk.pause()
    results = [store.put(make_record(index)).result for index in range(3)]
    assert results == [PutResult.QUEUED, PutResult.QUEUED, PutResult.NOT_DURABLE]
    disk.resume()
    assert store.flush(WAIT_S)
    assert not disk.contains_many([make_key(2)])[0]
    put_all(store, 2, start=3)
    store.put(make_record(5))
    assert store.flush(WAIT_S)
    assert (store.stats().demoted, store.stats().forgotten) == (1, 0)
    assert tiers_of(store, 2) == ["disk"]
    store.close(WAIT_S)


def test_what_nobody_has_room_for_is_counted_as_forgotten() -> None:
    disk = FaultyTier(Slot("disk"), seed=0, rates=FaultRates(refused=1.0))
    store = make_store(disk, memory=make_memory(2 * SIZE))
    for index in range(5):
        store.put(make_record(index))
        assert store.flush(WAIT_S)
    assert tiers_of(store, 0, 4) == [None, "memory"]
    assert store.flush(WAIT_S)
    assert store.stats().forgotten >= 3
    assert store.stats().tiers["disk"].refused >= 5
    store.check_integrity()
    store.close(WAIT_S)


def test_without_lower_tiers_nothing_is_durable() -> None:
    store = make_store(memory=make_memory(2 * SIZE))
    assert store.put(make_record(0)).result is PutResult.NOT_DURABLE
    store.put(make_record(1))
    store.put(make_record(2))
    assert tiers_of(store, 0, 2) == [None, "memory"]
    assert store.stats().forgotten == 1
    assert store.put(make_record(3, shape=(8, 2, 8, 8, 8))).result is PutResult.REFUSED
    assert store.stats().refused == 1
    assert store.flush(0.0)
    store.close(WAIT_S)


def test_a_record_too_large_for_ram_still_goes_to_disk(tmp_path: Path) -> None:
    store = make_store(make_disk(tmp_path), memory=make_memory(SIZE))
    large = make_record(1, shape=(8, 2, 8, 8, 8))
    assert store.put(large).result is PutResult.QUEUED
    assert_same(store.get_many([large.key])[0].record, large)
    assert store.flush(WAIT_S)
    lookup = store.get_many([large.key])[0]
    assert lookup.tier == "disk"
    assert_same(lookup.record, large)
    store.close(WAIT_S)


def test_what_disk_gives_up_goes_to_redis_where_it_is_missing(tmp_path: Path) -> None:
    redis = FaultyTier(Slot("redis"), seed=0, rates=FaultRates(refused=1.0))
    store = make_store(make_disk(tmp_path, budget_bytes=6000), redis, memory=make_memory(SIZE))
    put_all(store, 3)
    assert redis.keys() == []
    redis.rates.refused = 0.0
    put_all(store, 10, start=3)
    assert all(tier is not None for tier in tiers_of(store, *range(13)))
    assert store.stats().demoted > 0
    assert store.stats().forgotten == 0
    store.close(WAIT_S)


@pytest.mark.parametrize("fault", ["flipped", "truncated", "read_error", "swapped", "lost"])
def test_a_fault_of_one_tier_is_made_good_by_the_next(fault: str) -> None:
    disk = FaultyTier(Slot("disk"), seed=1, rates=FaultRates(**{fault: 1.0}))
    redis = Slot("redis")
    store = make_store(disk, redis, memory=make_memory(SIZE))
    put_all(store, 12)
    expected = ["redis"] * 11 + ["memory"]
    if fault == "swapped":
        expected[0] = "disk"  # nothing to swap the first one with
    assert tiers_of(store, *range(12)) == expected
    store.close(WAIT_S)


def test_the_worst_reason_for_a_miss_is_told() -> None:
    disk = FaultyTier(Slot("disk"), seed=1, rates=FaultRates(flipped=1.0))
    store = make_store(disk, Slot("redis"), memory=make_memory(SIZE))
    put_all(store, 3)
    store._write_outs[1].tier.delete_many([make_key(0)])
    assert store.get_many([make_key(0)])[0].outcome is FetchOutcome.CORRUPT
    store.close(WAIT_S)


def test_a_tier_with_a_fault_of_its_own_is_a_miss_and_does_not_end_anything() -> None:
    class Raising(Slot):
        def get_many(self, keys: Sequence[SegmentKey]) -> list[Fetch]:
            raise RuntimeError("a bug")

        def put_many(self, records: Sequence[EncodedRecord]) -> list[PutOutcome]:
            raise RuntimeError("a bug")

    store = make_store(Raising("disk"), memory=make_memory(SIZE))
    store.put(make_record(0))
    store.put(make_record(1))
    assert store.flush(WAIT_S)
    assert store.get_many([make_key(0)])[0].outcome is FetchOutcome.ERROR
    assert tiers_of(store, 1) == ["memory"]
    store.close(WAIT_S)


def test_two_reads_of_a_key_at_once_fetch_it_once() -> None:
    class Waiting(Slot):
        def get_many(self, keys: Sequence[SegmentKey]) -> list[Fetch]:
            second.start()
            deadline_s = time.monotonic() + WAIT_S
            while store.stats().joined == 0 and time.monotonic() < deadline_s:
                second.join(0.001)
            return super().get_many(keys)

    disk = Waiting("disk")
    disk.put_many([make_encoded(1)])
    store = make_store(disk)
    tiers: list[str | None] = []
    second = threading.Thread(target=lambda: tiers.extend(tiers_of(store, 1)))
    assert tiers_of(store, 1) == ["disk"]
    second.join(WAIT_S)
    assert tiers == ["disk"]
    assert disk.stats().hits == 1
    store.close(WAIT_S)


def test_a_put_overtakes_a_load_of_its_key() -> None:
    """Else the older record would take the newer one's place in RAM."""

    class Waiting(Slot):
        def get_many(self, keys: Sequence[SegmentKey]) -> list[Fetch]:
            fetches = super().get_many(keys)
            store.put(make_record(1, seed=2))
            return fetches

    disk = Waiting("disk")
    disk.put_many([make_encoded(1, seed=1)])
    store = make_store(disk)
    assert_same(store.get_many([make_key(1)])[0].record, make_record(1, seed=1))
    assert_same(store.get_many([make_key(1)])[0].record, make_record(1, seed=2))
    assert store.flush(WAIT_S)
    store.check_integrity()
    store.close(WAIT_S)


def test_a_deletion_overtakes_a_load() -> None:
    """Else a deleted record would come back."""

    class Waiting(Slot):
        def get_many(self, keys: Sequence[SegmentKey]) -> list[Fetch]:
            fetches = super().get_many(keys)
            store.delete_stream(STREAM)
            return fetches

    disk = Waiting("disk")
    disk.put_many([make_encoded(1)])
    store = make_store(disk)
    assert tiers_of(store, 1) == ["disk"]
    assert tiers_of(store, 1) == [None]
    assert store.streams() == ([], True)
    store.close(WAIT_S)


def test_a_deleted_stream_is_gone_everywhere_and_others_stay(tmp_path: Path) -> None:
    redis = Slot("redis")
    store = make_store(make_disk(tmp_path), redis, memory=make_memory(3 * SIZE))
    put_all(store, 6)
    store.put(make_record(key=make_key(0, stream=OTHER)))
    store.put(make_record(6))  # perhaps still on its way
    assert store.delete_stream(STREAM).result(WAIT_S) == ()
    assert store.flush(WAIT_S)
    assert tiers_of(store, *range(7)) == [None] * 7
    assert store.streams() == ([OTHER], True)
    assert redis.keys() == [make_key(0, stream=OTHER)]
    store.check_integrity()
    store.close(WAIT_S)


def test_a_tier_that_could_not_delete_is_named() -> None:
    redis = FaultyTier(Slot("redis"), seed=0)
    store = make_store(Slot("disk"), redis)
    put_all(store, 2)
    redis.rates.unreachable = 1.0
    assert store.delete_stream(STREAM).result(WAIT_S) == ("redis",)
    redis.rates.unreachable = 0.0
    later = StreamKey(STREAM.model, STREAM.tenant, STREAM.stream, generation=1)
    assert tiers_of(store, 0) == [None]  # though it is still in Redis
    assert store.get_many([make_key(0, stream=later)])[0].record is None
    store.close(WAIT_S)


def test_the_index_is_made_from_all_tiers_and_rebuilt_after_a_restart(tmp_path: Path) -> None:
    disk = FaultyTier(make_disk(tmp_path), seed=0)
    store = make_store(disk, memory=make_memory(3 * SIZE))
    put_all(store, 10)
    store.put(make_record(key=make_key(0, kind=SegmentKind.SINK)))
    store.put(make_record(key=make_key(0, stream=OTHER)))
    before = store.rows(STREAM)
    assert [row.key.index for row in before.rows] == [*range(10), 0]
    assert store.close(WAIT_S)
    again = make_store(make_disk(tmp_path))
    after = again.rows(STREAM)
    assert after.is_complete
    assert [row.key for row in after.rows] == [row.key for row in before.rows]
    for row in after.rows:
        record = make_record(key=row.key)
        assert row.index_row.tobytes() == record.index_row.tobytes()
        assert (row.base, row.num_tokens) == (record.base, record.num_tokens)
        assert (row.start_s, row.end_s) == (record.start_s, record.end_s)
    assert again.streams("model-a/tenant-a/camera-1/") == ([STREAM], True)
    again.close(WAIT_S)


def test_an_index_that_may_lack_rows_says_so() -> None:
    redis = FaultyTier(Slot("redis"), seed=0)
    store = make_store(redis)
    put_all(store, 2)
    redis.rates.unreachable = 1.0
    rows = store.rows(STREAM)
    assert [row.key.index for row in rows.rows] == [0, 1]  # RAM has them
    assert not rows.is_complete
    assert store.streams() == ([STREAM], False)
    store.close(WAIT_S)


def test_each_tier_keeps_records_in_its_own_codec(tmp_path: Path) -> None:
    disk = make_disk(tmp_path)
    store = make_store(disk, memory_codec=CODECS["int8"], codec=CODECS["int4"])
    store.put(make_record(1, shape=(2, 2, 2, 8, 16)))
    assert store.flush(WAIT_S)
    in_memory = store._memory.get_many([make_key(1)])[0].record
    on_disk = disk.get_many([make_key(1)])[0].record
    assert in_memory is not None
    assert on_disk is not None
    assert (in_memory.head.codec, on_disk.head.codec) == ("int8", "int4")
    store.close(WAIT_S)


def test_the_callers_array_may_change_after_a_put() -> None:
    record = make_record(1)
    store = make_store(Slot("disk"))
    store.put(record)
    record.kv[:] = 0
    assert_same(store.get_many([make_key(1)])[0].record, make_record(1))
    store.close(WAIT_S)


def test_readers_and_writers_at_once_see_only_right_records(tmp_path: Path) -> None:
    disk = FaultyTier(
        make_disk(tmp_path, budget_bytes=30_000),
        seed=5,
        rates=FaultRates(flipped=0.05, read_error=0.05, write_error=0.05, unreachable=0.02),
    )
    store = make_store(disk, Slot("redis", 60_000), memory=make_memory(5 * SIZE), max_records=10)
    wrong: list[SegmentKey] = []

    def write(start: int) -> None:
        for index in range(start, 60, 3):
            store.put(make_record(index))

    def read() -> None:
        for index in range(60):
            keys = [make_key(index), make_key(index // 2)]
            for lookup in store.get_many(keys):
                expected = make_record(lookup.key.index).kv.tobytes()
                if lookup.record is not None and lookup.record.kv.tobytes() != expected:
                    wrong.append(lookup.key)

    threads = [threading.Thread(target=write, args=(start,)) for start in range(3)]
    threads += [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert store.flush(WAIT_S)
    assert wrong == []
    store.check_integrity()
    assert store.close(WAIT_S)
