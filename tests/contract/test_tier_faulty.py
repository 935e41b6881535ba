"""The tier that breaks on purpose does so, counts it, and never gives out wrong bytes."""

import pytest

from onlooker.cache_store.envelope import decode
from tests.fakes.faulty_tier import FaultRates, FaultyTier
from tests.unit.cache_store.factories import (
    assert_same,
    make_encoded,
    make_key,
    make_memory,
    make_record,
)

NUM_RECORDS = 200
KEYS = [make_key(index) for index in range(NUM_RECORDS)]


def make_faulty(**rates: float) -> FaultyTier:
    inner = make_memory(1 << 24)
    inner.put_many([make_encoded(index) for index in range(NUM_RECORDS)])
    return FaultyTier(inner, seed=7, rates=FaultRates(**rates))


@pytest.mark.parametrize(
    ("fault", "outcome", "counter"),
    [
        ("read_error", "error", "read_errors"),
        ("lost", "miss", "misses"),
        ("truncated", "corrupt", "corrupt"),
        ("swapped", "foreign", "foreign"),
    ],
)
def test_each_fault_shows_as_its_outcome_and_spares_the_others(
    fault: str, outcome: str, counter: str
) -> None:
    tier = make_faulty(**{fault: 0.3})
    fetches = tier.get_many(KEYS)
    spoilt = [fetch for fetch in fetches if fetch.outcome.value == outcome]
    assert NUM_RECORDS // 6 < len(spoilt) < NUM_RECORDS // 2
    assert getattr(tier.stats(), counter) == len(spoilt)
    assert tier.stats().hits == NUM_RECORDS - len(spoilt)
    for index, fetch in enumerate(fetches):
        if fetch.record is not None:
            assert_same(decode(fetch.record), make_record(index))
        else:
            assert fetch.outcome.value == outcome


def test_every_flipped_bit_is_noticed() -> None:
    tier = make_faulty(flipped=1.0)
    found = {fetch.outcome.value for fetch in tier.get_many(KEYS)}
    assert found <= {"corrupt", "foreign"}
    assert tier.stats().corrupt > 0.9 * NUM_RECORDS
    assert tier.stats().hits == 0


@pytest.mark.parametrize(("fault", "outcome"), [("write_error", "error"), ("refused", "refused")])
def test_writes_fail_one_by_one(fault: str, outcome: str) -> None:
    tier = FaultyTier(make_memory(1 << 24), seed=7, rates=FaultRates(**{fault: 0.3}))
    put = [result.value for result in tier.put_many([make_encoded(key=key) for key in KEYS])]
    assert set(put) == {"stored", outcome}
    assert tier.contains_many(KEYS) == [result == "stored" for result in put]


def test_unreachable_fails_whole_calls() -> None:
    tier = make_faulty(unreachable=1.0)
    assert {fetch.outcome.value for fetch in tier.get_many(KEYS)} == {"error"}
    assert {result.value for result in tier.put_many([make_encoded(0)])} == {"error"}
    assert tier.keys() is None
    assert list(tier.scan()) == [None]
    assert not tier.delete_many(KEYS)
    assert tier.contains_many(KEYS) == [None] * len(KEYS)


def test_a_seed_repeats_the_faults() -> None:
    first, second = make_faulty(lost=0.5), make_faulty(lost=0.5)
    assert [f.outcome for f in first.get_many(KEYS)] == [f.outcome for f in second.get_many(KEYS)]
