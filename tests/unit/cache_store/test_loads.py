from onlooker.cache_store.loads import KeyLoad, LoadResult, Loads
from onlooker.cache_store.tier import Fetch, FetchOutcome
from tests.unit.cache_store.factories import STREAM, make_encoded, make_key


def test_what_a_load_brings_is_wanted_unless_its_key_was_taken_over() -> None:
    loads = Loads()
    first, second = loads.begin(make_key(1)), loads.begin(make_key(2))
    loads.take_over(make_key(2))
    assert loads.finish(first)
    assert not loads.finish(second)
    assert loads.keys() == []


def test_an_overtaken_load_does_not_end_the_next_one_of_its_key() -> None:
    loads = Loads()
    older = loads.begin(make_key(1))
    loads.take_over_stream(STREAM.prefix)
    newer = loads.begin(make_key(1))
    assert not loads.finish(older)
    assert loads.get(make_key(1)) is newer
    assert loads.finish(newer)


def test_the_worst_reason_is_kept_whatever_comes_after() -> None:
    load = KeyLoad(make_key(1))
    for outcome in (FetchOutcome.ERROR, FetchOutcome.CORRUPT, FetchOutcome.MISS):
        load.missed(outcome)
    load.end()
    assert load.done.result(0) == LoadResult(Fetch(FetchOutcome.CORRUPT), None)


def test_a_load_ends_once() -> None:
    load = KeyLoad(make_key(1))
    result = LoadResult(Fetch(FetchOutcome.HIT, make_encoded(1)), "disk")
    load.end(result)
    load.end()
    assert load.done.result(0) is result
