"""Reads from the tiers below RAM while they are closed."""

from onlooker.cache_store.loads import KeyLoad
from onlooker.cache_store.lower_tiers import LowerTiers
from tests.fakes.waiting import WAIT_S
from tests.unit.cache_store.factories import make_encoded, make_key, make_memory, make_write_out


def test_who_still_asks_after_the_end_asks_one_tier_after_the_other() -> None:
    """Others may wait for the same records: they would wait for ever if this raised."""
    tiers = [make_memory(), make_memory()]
    for index, tier in enumerate(tiers):
        tier.put_many([make_encoded(index)])
    found = list[KeyLoad]()
    lower = LowerTiers(
        [make_write_out(tier) for tier in tiers],
        on_found=lambda load, fetch, record, depth: found.append(load),
        max_beside=1,
    )
    assert lower.close(WAIT_S)
    lacking = KeyLoad(make_key(99))
    loads = [KeyLoad(make_key(0)), KeyLoad(make_key(1))]
    for _ in range(2):  # nor is any place lost
        assert lower.read([*loads, lacking]) == [lacking]
    assert found == [*loads, *loads]
