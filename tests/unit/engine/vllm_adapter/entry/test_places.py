"""Clips of which only some places are computed go through the vision tower a bounded part at a
time."""

from typing import Any

import pytest
import torch

from onlooker.engine.vllm_adapter.entry.places import PIXELS_FIELD, in_parts, only
from onlooker.engine.vllm_adapter.wire import GRID_FIELD

GRIDS = [[1, 2, 4], [1, 4, 4], [1, 2, 2], [1, 2, 2]]
"""Of clips of 8, 16, 4 and 4 patches, four of which are a place."""


class Tower:
    """Stands in for a model: a place's embedding is the mean of its patches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def embed(self, **features: Any) -> tuple[torch.Tensor, ...]:
        pixels, grids = features[PIXELS_FIELD], features[GRID_FIELD]
        assert len(features["timestamps"]) == len(grids)
        self.sizes.append(len(pixels))
        places = pixels.reshape(len(pixels) // 4, 4, -1).mean(1)
        found: tuple[torch.Tensor, ...] = places.split((grids.prod(-1) // 4).tolist())
        return found


def features() -> dict[str, Any]:
    return {
        PIXELS_FIELD: torch.arange(64.0).reshape(32, 2),
        GRID_FIELD: torch.tensor(GRIDS),
        "timestamps": [[0.5], [1.5], [2.5], [3.5]],
    }


@pytest.mark.parametrize(
    ("max_patches", "sizes"), [(100, [32]), (24, [24, 8]), (8, [8, 16, 8]), (1, [8, 16, 4, 4])]
)
def test_the_tower_gets_no_more_patches_at_once_than_it_may(
    max_patches: int, sizes: list[int]
) -> None:
    tower = Tower()
    found = in_parts(tower.embed, features(), max_patches=max_patches)
    assert tower.sizes == sizes
    for one, whole in zip(found, Tower().embed(**features()), strict=True):
        assert torch.equal(one, whole)


def test_only_the_places_that_are_kept_are_handed_on() -> None:
    (embedded,) = (torch.arange(8.0).reshape(4, 2),)
    (found,) = only([embedded], [torch.tensor([0, 3])])
    assert found.tolist() == [[0, 1], [6, 7]]


def test_a_place_that_a_clip_does_not_have_is_zeros_and_ends_nothing() -> None:
    (found,) = only([torch.ones(2, 3)], [torch.tensor([1, 7])])
    assert found.tolist() == [[1, 1, 1], [0, 0, 0]]
