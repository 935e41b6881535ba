import threading
from collections.abc import Sequence

import pytest

from onlooker.cache_store.codecs.table import CODECS
from onlooker.cache_store.envelope import EncodedRecord
from onlooker.cache_store.erasure import Erasure
from onlooker.cache_store.eviction import Lru
from onlooker.cache_store.key import SegmentKey
from onlooker.cache_store.tier import PutOutcome
from onlooker.cache_store.tiers.memory import MemoryTier
from onlooker.cache_store.write_out import WriteOut
from tests.fakes.faulty_tier import FaultRates, FaultyTier
from tests.fakes.waiting import WAIT_S, in_time
from tests.unit.cache_store.factories import (
    STREAM,
    make_encoded,
    make_key,
    make_memory,
    make_write_out,
)


class Held(MemoryTier):
    """Tells when a write has come in, holds it, and fails as often as told."""

    def __init__(self, *, num_failures: int = 0) -> None:
        super().__init__(budget_bytes=1 << 20, policy=Lru())
        self.came_in = threading.Event()
        self.may_go_on = threading.Event()
        self.num_failures = num_failures

    def put_many(self, records: Sequence[EncodedRecord]) -> list[PutOutcome]:
        self.came_in.set()
        assert self.may_go_on.wait(WAIT_S)
        if self.num_failures:
            self.num_failures -= 1
            return [PutOutcome.ERROR] * len(records)
        return super().put_many(records)


def wait_until_gone(write_out: WriteOut, index: int) -> None:
    """Until a discarding in another thread has begun."""

    def wait() -> None:
        while write_out.get(make_key(index)) is not None:
            threading.Event().wait(0.001)

    in_time(f"record {index} to be discarded", wait)


def started(write_out: WriteOut) -> tuple[list[SegmentKey], list[SegmentKey]]:
    """Start it; the keys that it reports as stored, and as failed."""
    stored: list[SegmentKey] = []
    failed: list[SegmentKey] = []
    write_out.start(on_stored=stored.extend, on_failed=failed.extend)
    return stored, failed


def test_what_is_offered_is_written_in_order_and_told() -> None:
    tier = make_memory()
    write_out = make_write_out(tier)
    stored, failed = started(write_out)
    assert all(write_out.offer(make_encoded(index)) for index in range(20))
    assert write_out.flush(WAIT_S)
    assert stored == [make_key(index) for index in range(20)]
    assert failed == []
    assert tier.keys() == stored
    write_out.check_integrity()
    write_out.close(WAIT_S)


def test_a_full_queue_says_no_and_counts_it() -> None:
    tier = FaultyTier(make_memory(), seed=0)
    write_out = make_write_out(tier, max_records=3)
    started(write_out)
    tier.pause()
    assert [write_out.offer(make_encoded(index)) for index in range(5)] == [True] * 3 + [False] * 2
    assert write_out.stats().refused == 2
    assert write_out.stats().num_records == 3
    write_out.check_integrity()
    tier.resume()
    assert write_out.flush(WAIT_S)
    assert write_out.stats().num_bytes == 0
    write_out.close(WAIT_S)


def test_the_queue_is_bounded_in_bytes() -> None:
    size = make_encoded().resident_bytes
    tier = FaultyTier(make_memory(), seed=0)
    write_out = make_write_out(tier, max_bytes=2 * size)
    started(write_out)
    tier.pause()
    assert [write_out.offer(make_encoded(index)) for index in range(3)] == [True, True, False]
    assert write_out.stats().num_bytes == 2 * size
    tier.resume()
    write_out.close(WAIT_S)


def test_a_record_can_be_read_until_its_write_has_ended() -> None:
    tier = FaultyTier(make_memory(), seed=0)
    write_out = make_write_out(tier)
    started(write_out)
    tier.pause()
    record = make_encoded(1)
    write_out.offer(record)
    assert write_out.get(record.key) is record
    assert write_out.keys(STREAM.prefix) == [record.key]
    tier.resume()
    assert write_out.flush(WAIT_S)
    assert write_out.get(record.key) is None
    write_out.close(WAIT_S)


def test_a_record_can_be_read_while_it_is_being_written() -> None:
    tier = Held()
    write_out = make_write_out(tier)
    started(write_out)
    record = make_encoded(1)
    write_out.offer(record)
    assert tier.came_in.wait(WAIT_S)
    assert write_out.get(record.key) is record
    assert write_out.keys(STREAM.prefix) == [record.key]
    tier.may_go_on.set()
    write_out.close(WAIT_S)


def test_a_newer_record_is_not_undone_by_the_second_try_of_an_older_one() -> None:
    tier = Held(num_failures=1)
    write_out = make_write_out(tier)
    started(write_out)
    write_out.offer(make_encoded(1, seed=1))
    assert tier.came_in.wait(WAIT_S)
    newer = make_encoded(1, seed=2)
    write_out.offer(newer)
    assert write_out.get(newer.key) is newer
    tier.may_go_on.set()
    assert write_out.flush(WAIT_S)
    assert tier.get_many([newer.key])[0].record is newer
    write_out.check_integrity()
    write_out.close(WAIT_S)


def test_a_newer_record_takes_the_place_of_a_waiting_one() -> None:
    tier = make_memory()
    write_out = make_write_out(tier)
    write_out.offer(make_encoded(1, seed=1))
    newer = make_encoded(1, seed=2)
    write_out.offer(newer)
    write_out.check_integrity()
    stored, _ = started(write_out)
    assert write_out.flush(WAIT_S)
    assert stored == [make_key(1)]
    assert tier.get_many([make_key(1)])[0].record is newer
    write_out.close(WAIT_S)


def test_a_tier_that_fails_is_tried_again_and_then_given_up() -> None:
    tier = FaultyTier(make_memory(), seed=0, rates=FaultRates(write_error=1.0))
    write_out = make_write_out(tier, max_attempts=3)
    stored, failed = started(write_out)
    write_out.offer(make_encoded(0))
    assert write_out.flush(WAIT_S)
    assert (stored, failed) == ([], [make_key(0)])
    assert (write_out.stats().retried, write_out.stats().failed) == (2, 1)
    assert write_out.get(make_key(0)) is None
    write_out.close(WAIT_S)


def test_a_tier_that_recovers_gets_everything() -> None:
    tier = FaultyTier(make_memory(), seed=3, rates=FaultRates(unreachable=0.5, write_error=0.2))
    write_out = make_write_out(tier, max_attempts=100)
    stored, failed = started(write_out)
    for index in range(30):
        write_out.offer(make_encoded(index))
    assert write_out.flush(WAIT_S)
    assert sorted(stored) == [make_key(index) for index in range(30)]
    assert failed == []
    assert write_out.stats().retried > 0
    write_out.close(WAIT_S)


def test_what_a_full_tier_refuses_is_not_tried_again() -> None:
    tier = FaultyTier(make_memory(), seed=0, rates=FaultRates(refused=1.0))
    write_out = make_write_out(tier, max_attempts=3)
    _, failed = started(write_out)
    write_out.offer(make_encoded(0))
    assert write_out.flush(WAIT_S)
    assert failed == [make_key(0)]
    assert write_out.stats().retried == 0
    write_out.close(WAIT_S)


def test_a_listener_that_fails_does_not_end_the_writing() -> None:
    def broken(keys: object) -> None:
        raise RuntimeError("listener")

    tier = make_memory()
    write_out = make_write_out(tier)
    write_out.start(on_stored=broken, on_failed=broken)
    for index in range(3):
        write_out.offer(make_encoded(index))
        assert write_out.flush(WAIT_S)
    assert len(tier.keys()) == 3
    write_out.close(WAIT_S)


@pytest.mark.parametrize("num_failures", [0, 1])
def test_discarding_forgets_what_waits_and_waits_for_what_is_being_written(
    num_failures: int,
) -> None:
    tier = Held(num_failures=num_failures)
    write_out = make_write_out(tier, batch_records=1)
    started(write_out)
    write_out.offer(make_encoded(0))
    assert tier.came_in.wait(WAIT_S)
    write_out.offer(make_encoded(1))
    discarding = threading.Thread(target=write_out.discard, args=(Erasure(STREAM), WAIT_S))
    discarding.start()
    wait_until_gone(write_out, 1)
    tier.may_go_on.set()
    discarding.join(WAIT_S)
    assert not discarding.is_alive()
    assert write_out.flush(WAIT_S)
    assert not tier.contains_many([make_key(1)])[0]
    assert write_out.stats().num_records == 0
    write_out.check_integrity()
    write_out.close(WAIT_S)


def test_what_was_discarded_while_it_failed_is_not_tried_again() -> None:
    tier = Held(num_failures=1)
    write_out = make_write_out(tier)
    started(write_out)
    write_out.offer(make_encoded(0))
    assert tier.came_in.wait(WAIT_S)
    discarding = threading.Thread(target=write_out.discard, args=(Erasure(STREAM), WAIT_S))
    discarding.start()
    wait_until_gone(write_out, 0)
    tier.may_go_on.set()
    discarding.join(WAIT_S)
    assert not discarding.is_alive()
    assert write_out.flush(WAIT_S)
    assert tier.keys() == []
    write_out.close(WAIT_S)


@pytest.mark.parametrize("codec", ["int8", "int4"])
def test_records_are_coded_on_their_way_down(codec: str) -> None:
    tier = make_memory()
    write_out = make_write_out(tier, codec=CODECS[codec])
    started(write_out)
    write_out.offer(make_encoded(0))
    assert write_out.flush(WAIT_S)
    found = tier.get_many([make_key(0)])[0].record
    assert found is not None
    assert found.head.codec == codec
    write_out.close(WAIT_S)


def test_flushing_ends_when_time_runs_out() -> None:
    tier = FaultyTier(make_memory(), seed=0)
    write_out = make_write_out(tier)
    started(write_out)
    tier.pause()
    write_out.offer(make_encoded(0))
    assert not write_out.flush(0.0)
    tier.resume()
    write_out.close(WAIT_S)
    assert not write_out.offer(make_encoded(1))
