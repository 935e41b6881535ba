from onlooker.cache_store.envelope import EncodedRecord
from onlooker.cache_store.tier import PutOutcome
from tests.unit.cache_store.factories import make_encoded, make_key, make_memory

SIZE = make_encoded().resident_bytes


def test_the_oldest_goes_when_it_is_full_and_the_victims_are_told() -> None:
    evicted: list[EncodedRecord] = []
    tier = make_memory(3 * SIZE)
    tier.on_evicted = evicted.extend
    records = [make_encoded(index) for index in range(5)]
    for record in records:
        tier.put_many([record])
    assert evicted == records[:2]
    assert tier.keys() == [make_key(2), make_key(3), make_key(4)]
    assert (tier.stats().evicted, tier.stats().evicted_bytes) == (2, 2 * SIZE)
    tier.check_integrity()


def test_a_record_over_the_budget_evicts_nothing_but_the_one_it_replaces() -> None:
    tier = make_memory(2 * SIZE)
    tier.put_many([make_encoded(0), make_encoded(1)])
    assert tier.put_many([make_encoded(1, shape=(8, 2, 8, 8, 8))]) == [PutOutcome.REFUSED]
    assert tier.keys() == [make_key(0)]
    tier.check_integrity()
