"""From scores to clips."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onlooker.engine.vllm_adapter.worker.selection import best, filled, standardised

scores_lists = st.lists(st.integers(-200, 200), min_size=1, max_size=40, unique=True)


def as_scores(drawn: list[int]) -> torch.Tensor:
    return torch.tensor(drawn, dtype=torch.float32) / 20


@given(scores_lists, st.integers(1, 50))
def test_fixed_k_takes_the_best_in_time_order(drawn: list[int], count: int) -> None:
    scores = as_scores(drawn)
    expected = sorted(sorted(range(len(drawn)), key=lambda i: -drawn[i])[:count])
    assert best(scores, count, mass=None, temperature=1.0) == expected


@given(scores_lists, st.integers(1, 50), st.floats(0.01, 0.99), st.sampled_from([0.3, 1.0, 3.0]))
def test_mass_takes_the_smallest_set_that_reaches_it(
    drawn: list[int], count: int, mass: float, temperature: float
) -> None:
    scores = as_scores(drawn)
    found = best(scores, count, mass=mass, temperature=temperature)
    shares = torch.softmax(scores.double() / temperature, 0)
    reached = float(shares[found].sum())
    weakest = float(shares[found].min())
    assert 1 <= len(found) <= count
    assert set(found) == set(best(scores, len(found), mass=None, temperature=1.0))
    assert reached >= mass - 1e-9 or len(found) == min(count, len(drawn))
    assert len(found) == 1 or reached - weakest < mass + 1e-9


@given(st.sets(st.integers(0, 29), min_size=1), st.integers(1, 30))
def test_slots_that_are_not_needed_show_the_newest(chosen: set[int], num_slots: int) -> None:
    found = filled(sorted(chosen), 30, num_slots)
    assert found == sorted(set(found))
    assert len(found) == max(len(chosen), num_slots)
    added = sorted(set(found) - chosen)
    left = [place for place in range(30) if place not in found]
    assert not added or not left or min(added) > max(left)


@given(scores_lists, st.floats(0.1, 10), st.floats(-50, 50))
def test_a_vote_does_not_depend_on_its_layer_s_scale(
    drawn: list[int], scale: float, shift: float
) -> None:
    scores = as_scores(drawn)
    again = standardised(scores * scale + shift)
    assert again.tolist() == pytest.approx(standardised(scores).tolist(), abs=1e-2)
    assert float(again.mean()) == pytest.approx(0, abs=1e-3)
