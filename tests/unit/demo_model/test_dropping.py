"""Which places of a clip are computed, and what stands where one is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onlooker.demo_model.answers import DrawnQuestion
from onlooker.demo_model.dataset import Layout
from onlooker.demo_model.phrases import vocabulary
from onlooker.demo_model.tokenizer import build_tokenizer
from onlooker.demo_model.training.changes import IGNORE
from onlooker.demo_model.training.contexts import Branch, Context
from onlooker.demo_model.training.dropping import ShownPlaces, looks, shown_again
from onlooker.demo_model.training.language import Packed, forward
from onlooker.demo_model.training.packing import pack
from onlooker.demo_model.training.pool import DrawnTimeline, Pool, build_pool
from onlooker.demo_model.world import World
from tests.unit.demo_model.small import HIDDEN, small_model

LAYOUT = Layout(build_tokenizer(vocabulary()))
MODEL = small_model(LAYOUT.tokenizer)
KEPT = np.ones((3, 9), np.bool_)
KEPT[1, 4] = KEPT[2, 4] = KEPT[2, 7] = False
PLACE = 4


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder: Path = tmp_path_factory.mktemp("pool")
    build_pool(MODEL.model.visual, folder, range(1), clips=6)
    return Pool(folder, HIDDEN)


def packed(pool: Pool, *, filled: bool) -> Packed:
    question = DrawnQuestion("now_color", "What color is the star in the middle?", "red", (2,))
    context = Context(
        pool.timelines[0], np.arange(3), None, np.arange(3), 0, [Branch(3, question)],
        shown=ShownPlaces(KEPT, filled),
    )  # fmt: skip
    return pack(LAYOUT, [context], pool, None)


@torch.no_grad()
def logits(batch: Packed, clip: int | None = None, place: int = PLACE) -> torch.Tensor:
    """The answer's logits; after another picture was put at a place of a clip, if one is named."""
    merged = batch.merged.clone()
    if clip is not None:
        batch.merged[clip * 9 + place] += 1.0
    found = forward(MODEL.model.language_model, batch, LAYOUT.video).logits
    batch.merged = merged
    return found


@pytest.mark.parametrize("filled", [False, True])
def test_what_a_place_shows_that_is_not_computed_changes_nothing(pool: Pool, filled: bool) -> None:
    batch = packed(pool, filled=filled)
    plain = logits(batch)
    torch.testing.assert_close(logits(batch, 2), plain)
    torch.testing.assert_close(logits(batch, 1), plain)
    assert not torch.allclose(logits(batch, 0), plain)
    assert not torch.allclose(logits(batch, 2, place=3), plain)


def test_a_filled_clip_is_not_one_with_missing_places(pool: Pool) -> None:
    assert not torch.allclose(logits(packed(pool, filled=True)), logits(packed(pool, filled=False)))


def test_attention_is_led_to_where_a_missing_place_was_last_shown(pool: Pool) -> None:
    missing, filled = (packed(pool, filled=one).pointed[0] for one in (False, True))
    opening = len(missing) - 3 * 15
    places = torch.nonzero(missing)[:, 0] - opening
    own = torch.nonzero(filled)[:, 0] - opening
    moved = {2 * 15 + 5 + 4: 5 + 4, 2 * 15 + 5 + 7: 15 + 5 + 7}
    assert places.tolist() == sorted(moved.get(at, at) for at in own.tolist())


def test_places_that_are_not_computed_are_taught_nothing(pool: Pool) -> None:
    labels = packed(pool, filled=False).labels
    for name in ("before", "change", "fresh", "gone"):
        assert (labels[name][0][~torch.from_numpy(KEPT)] == IGNORE).all()
    assert (labels["fresh"][0, 0] != IGNORE).all()


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=9, max_size=9), min_size=1, max_size=20),
    st.integers(1, 8),
    st.permutations(range(9)),
)
def test_every_change_is_computed_and_every_place_in_turn(
    rows: list[list[int]], turn: int, order: list[int]
) -> None:
    found = np.array(rows)
    kept = shown_again(found, turn, order)
    last = ShownPlaces(kept, filled=False).last()
    assert kept[0].all()
    assert (np.take_along_axis(found, last, axis=0) == found).all()
    assert (np.arange(len(found))[:, None] - last < turn).all()


def test_places_look_alike_while_nothing_in_them_changes() -> None:
    world = World(5)
    times = tuple(float(t) for t in range(40))
    timeline = DrawnTimeline(5, times, times, times, 0)
    found = looks(timeline)
    for at in range(1, len(times)):
        before, after = (world.state_at(t) for t in times[at - 1 : at + 1])
        if before.index == after.index and before.sign != after.sign:
            assert found[at, 2] != found[at - 1, 2]
        if before.index != after.index:
            assert (found[at] != found[at - 1]).all()
    assert 0.05 < (found[1:] != found[:-1]).mean() < 0.7
