"""The index holds what it was given, whatever came and went."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onlooker.engine.vllm_adapter.worker.index import Index

LAYERS = 3
steps = st.lists(
    st.tuples(st.sampled_from(["put", "put", "put", "discard"]), st.integers(0, 120)), max_size=400
)


def made(number: int, step: int) -> torch.Tensor:
    """Entries that tell which segment and step they are of; odd ones have another shape."""
    return torch.full((LAYERS, 1 + number % 2, 2, 4), float(step))


@given(steps)
def test_the_index_is_a_dictionary(drawn: list[tuple[str, int]]) -> None:
    index, expected = Index(), dict[str, torch.Tensor]()
    for step, (what, number) in enumerate(drawn):
        key = str(number)
        if what == "put":
            index.put(key, made(number, step))
            expected[key] = made(number, step)
        else:
            assert index.discard(key) is (expected.pop(key, None) is not None)
    assert set(index) == set(expected)
    keys = list(expected)
    found: dict[str, torch.Tensor] = {}
    for group in index.groups(keys):
        for layer in range(LAYERS):
            for place, entries in zip(group.members.tolist(), group.entries(layer), strict=True):
                assert torch.equal(entries, expected[keys[place]][layer])
                found[keys[place]] = entries
    assert set(found) == set(expected)
    assert index.missing(["no", *keys]) == ["no"]


def test_segments_of_many_sizes_take_about_what_is_in_them() -> None:
    index, entries = Index(), [torch.ones(LAYERS, 1 + size, 2, 4) for size in range(100)]
    for number, one in enumerate(entries):
        index.put(str(number), one)
    in_them = sum(one.numel() * one.element_size() for one in entries)
    assert index.num_bytes <= 8 * in_them


def test_places_of_what_was_dropped_are_used_again() -> None:
    index = Index()
    for number in range(0, 128, 2):
        index.put(str(number), made(number, 0))
    before = index.num_bytes
    for number in range(128, 2000, 2):
        index.discard(str(number - 128))
        index.put(str(number), made(number, 0))
    assert index.num_bytes == before


def test_its_bytes_are_bounded_by_its_rows() -> None:
    index = Index()
    index.put("0", made(0, 0))
    row = index.max_row_bytes
    for number in range(2, 2000, 2):
        index.put(str(number), made(number, 0))
    assert index.num_bytes <= row * len(index)
    assert row == pytest.approx(1.5 * LAYERS * 2 * 4 * 4)


def test_what_a_forward_pass_made_can_be_added_to_outside_of_one() -> None:
    index = Index()
    with torch.inference_mode():
        index.put("0", made(0, 1))
    for number in range(2, 400, 2):
        index.put(str(number), made(number, 2))
    with torch.inference_mode():
        index.put("400", made(400, 3))
    (group,) = index.groups(["0", "398", "400"])
    assert group.entries(0)[:, 0, 0, 0].tolist() == [1, 2, 3]
