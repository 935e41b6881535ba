"""What an album loses first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.cache_store.albums.thinning import Budgets, leaving, next_stretch, stretch_of


def test_the_oldest_of_equally_full_stretches_is_thinned_first() -> None:
    assert next_stretch({3: 400, 4: 400, 9: 400}) == 3


def test_a_stretch_with_half_as_many_waits_until_it_is_three_times_as_old() -> None:
    assert next_stretch({6: 200, 7: 400, 8: 400}) == 7
    assert next_stretch({1: 201, 7: 400, 8: 1}) == 1


def test_what_changed_least_goes_and_what_happened_stays() -> None:
    assert sorted(leaving([(0, 0.9), (1, 0.1), (2, 0.7), (3, 0.2)])) == [1, 3]
    assert leaving([(7, 0.9)]) == [7]


def test_the_tenant_who_has_most_gives_up_its_largest_stream() -> None:
    budgets = Budgets(max_bytes=200, max_tenant_bytes=500, max_stream_bytes=500, max_streams=9)
    assert budgets.exceeded_by({"a/one": 50, "a/two": 60, "b/only": 100}) == "a/two"
    assert budgets.exceeded_by({"a/one": 50, "b/only": 100}) is None
    assert budgets.exceeded_by({}) is None


@given(st.dictionaries(st.integers(0, 400), st.integers(1, 500), min_size=1))
def test_thinning_goes_on_until_nothing_is_left(counts: dict[int, int]) -> None:
    for _ in range(len(counts) * 12):
        if not counts:
            return
        chosen = next_stretch(counts)
        counts[chosen] -= len(leaving([(index, 0.5) for index in range(counts[chosen])]))
        if not counts[chosen]:
            del counts[chosen]
    assert not counts


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_no_picture_that_stays_changed_less_than_one_that_goes(changes: list[float]) -> None:
    gone = set(leaving(list(enumerate(changes))))
    stays = [changes[index] for index in range(len(changes)) if index not in gone]
    assert gone
    assert not stays or max(changes[index] for index in gone) <= min(stays)


@pytest.mark.parametrize(("start_s", "number"), [(0.0, 0), (899.9, 0), (900.0, 1), (-1.0, -1)])
def test_a_stretch_is_a_quarter_of_an_hour(start_s: float, number: int) -> None:
    assert stretch_of(start_s) == number
