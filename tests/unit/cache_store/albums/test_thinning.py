"""What an album loses first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.cache_store.albums.thinning import (
    MAX_LEVEL,
    heaviest,
    leaving,
    next_stretch,
    stretch_of,
)


def test_the_oldest_of_stretches_that_are_whole_is_thinned_first() -> None:
    assert next_stretch({3: 0, 4: 0, 9: 0}).number == 3


def test_a_stretch_that_was_thinned_waits_until_it_is_much_older() -> None:
    assert next_stretch({0: 1, 1: 0, 2: 0}).number == 1
    assert next_stretch({0: 1, 9: 0, 10: 0}).number == 0


def test_what_changed_least_goes_and_what_happened_stays() -> None:
    pictures = [(0, 0.9), (1, 0.1), (2, 0.7), (3, 0.2)]
    assert sorted(leaving(pictures, level=0)) == [1, 3]


def test_a_stretch_that_was_thinned_often_goes_as_a_whole() -> None:
    assert leaving([(0, 0.9), (1, 0.1)], level=MAX_LEVEL) == [0, 1]
    assert leaving([(7, 0.9)], level=0) == [7]


def test_the_tenant_who_has_most_gives_up_its_largest_stream() -> None:
    assert heaviest({"a/one": 50, "a/two": 60, "b/only": 100}) == "a/two"


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, MAX_LEVEL)), min_size=1))
def test_thinning_goes_on_until_nothing_is_left(stretches: list[tuple[int, int]]) -> None:
    levels = dict(stretches)
    for _ in range(len(levels) * (MAX_LEVEL + 1)):
        if not levels:
            return
        chosen = next_stretch(levels)
        assert chosen.number in levels
        if chosen.level >= MAX_LEVEL:
            del levels[chosen.number]
        else:
            levels[chosen.number] += 1
    assert not levels


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(0, MAX_LEVEL - 1))
def test_no_picture_that_stays_changed_less_than_one_that_goes(
    changes: list[float], level: int
) -> None:
    gone = set(leaving(list(enumerate(changes)), level))
    stays = [changes[index] for index in range(len(changes)) if index not in gone]
    assert gone
    assert not stays or max(changes[index] for index in gone) <= min(stays)


@pytest.mark.parametrize(("start_s", "number"), [(0.0, 0), (899.9, 0), (900.0, 1), (-1.0, -1)])
def test_a_stretch_is_a_quarter_of_an_hour(start_s: float, number: int) -> None:
    assert stretch_of(start_s) == number
