"""What the lessons say about a clip's tokens is what the world shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from onlooker.demo_model.table import SHAPES
from onlooker.demo_model.training.changes import (
    IGNORE,
    ChangeHeads,
    Lessons,
    cell_bits,
    entering,
    fresh_labels,
    gone_labels,
    named_cells,
    shown_bits,
    stacked,
)
from onlooker.demo_model.training.clips import CELLS
from onlooker.demo_model.training.pool import DrawnTimeline, draw_timeline
from onlooker.demo_model.view import View
from onlooker.demo_model.world import COLOR_NAMES, World

RED, BLUE = COLOR_NAMES.index("red") + 1, COLOR_NAMES.index("blue") + 1
STAR, CIRCLE = SHAPES.index("star") + 1, SHAPES.index("circle") + 1


def contents(*cells: dict[int, tuple[int, int]]) -> list[np.ndarray]:
    """Content labels of clips that show (colour, shape) in some cells."""
    found = []
    for shown in cells:
        labels = np.zeros((CELLS, 3), np.int64)
        for cell, kind in shown.items():
            labels[cell, :2] = kind
        found.append(labels)
    return found


def bits_of(clips: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    bits = np.stack([cell_bits(clip) for clip in clips])
    return bits, np.bitwise_or.reduce(bits, axis=1)


def test_new_is_what_no_clip_within_reach_has_shown() -> None:
    clips = contents({0: (RED, STAR)}, {4: (BLUE, STAR)}, {0: (RED, CIRCLE)}, {4: (BLUE, STAR)})
    bits, shown = bits_of(clips)
    far, near = fresh_labels(bits, shown, 4), fresh_labels(bits, shown, 1)
    assert far[0, 0].tolist() == [2, 2, 2]
    assert far[1, 4].tolist() == [2, 2, 1]  # a new kind and colour, but stars are known
    assert far[2, 0].tolist() == [2, 1, 2]
    assert far[3, 4].tolist() == [1, 1, 1]
    assert near[3, 4].tolist() == [2, 2, 2]
    assert (far[:, 8] == 0).all()


def test_gone_is_what_the_clip_before_showed_in_the_cell_and_this_one_shows_nowhere() -> None:
    clips = contents({0: (RED, STAR)}, {5: (RED, STAR)}, {5: (BLUE, STAR)}, {})
    gone = gone_labels(*bits_of(clips))
    assert gone[0].max() == 0
    assert gone[1, 0].tolist() == [1, 1, 1]  # it moved
    assert gone[2, 5].tolist() == [2, 2, 1]
    assert gone[3, 5].tolist() == [2, 2, 2]


def test_what_the_clip_before_did_not_show_anywhere_comes_in() -> None:
    clips = contents({0: (RED, STAR)}, {5: (RED, STAR)}, {1: (BLUE, STAR)}, {0: (RED, STAR)})
    enters = entering(*bits_of(clips))
    assert not enters[0].any()  # nothing was before the first
    assert not enters[1].any()  # it moved
    assert enters[2, 1].tolist() == [1, 1, 0]  # a star was there
    assert enters[3, 0].tolist() == [1, 1, 0]  # it has come back
    assert not enters[:, 8].any()


@pytest.mark.parametrize("seed", range(3))
def test_lessons_agree_with_what_questions_are_asked_about(seed: int) -> None:
    timeline = draw_timeline(np.random.default_rng(seed), seed, 40, 0)
    rows = np.arange(3, 40, 2)
    labels = Lessons().of(timeline, rows, None)
    view = View(World(seed), [timeline.clips()[row] for row in rows])
    shown = np.stack([shown_bits(scenes) for scenes in view.scenes])
    for at in range(len(view)):
        for color, shape in view.shown[at]:
            kind = COLOR_NAMES.index(color) * len(SHAPES) + SHAPES.index(shape) + 1
            assert shown[at, 0] >> kind & 1
        counts = {len(scene.objects) for scene in view.scenes[at]}
        count = int(labels.count[0, at])
        assert counts == {count} if len(counts) == 1 else count == IGNORE
    assert (labels.before[0, 0] == IGNORE).all()
    assert labels.fresh[0, 0].max(initial=0) in (0, 2)


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("When did you last see a red star?", [0]),
        ("When did you last see a star?", [0, 4]),
        ("When did you last see a red circle?", []),
        ("When did the sign show 3?", [2]),
        ("How many objects were there?", None),
    ],
)
def test_words_name_cells(text: str, cells: list[int] | None) -> None:
    (content,) = contents({0: (RED, STAR), 4: (BLUE, STAR)})
    found = named_cells(text, content)
    assert (None if found is None else np.flatnonzero(found).tolist()) == cells


def test_heads_teach_clips_together_and_count_only_what_is_labelled() -> None:
    lessons = Lessons()
    timelines = [draw_timeline(np.random.default_rng(n), n, 6, 6 * n) for n in range(2)]
    rows = np.arange(6)
    labels = stacked([lessons.of(timeline, rows, 2) for timeline in timelines])
    assert labels.fresh.shape == (2, 6, CELLS, 3)
    stamps = torch.zeros(2, 6, 3, dtype=torch.int64)
    heads = ChangeHeads(8)
    taps = [torch.randn(2, 6, CELLS + 1, 8, requires_grad=True) for _ in range(2)]
    loss, shares = heads(taps, labels.tensors(torch.device("cpu")), stamps)
    loss.backward()
    assert torch.isfinite(loss)
    assert {"count", "fresh/0", "gone/2", "earlier/1", "change"} <= set(shares)
    assert taps[0].grad is not None
    assert taps[0].grad[:, :, CELLS].abs().sum() > 0


def test_telling_new_from_known_counts_most_where_a_thing_comes_in() -> None:
    timeline = draw_timeline(np.random.default_rng(0), 1, 6, 0)
    labels = Lessons().of(timeline, np.arange(6), None).tensors(torch.device("cpu"))
    nothing = {name: torch.full_like(value, IGNORE) for name, value in labels.items()}
    fresh, enters = (torch.zeros(1, 6, CELLS, 3, dtype=torch.int64) for _ in range(2))
    fresh[0, 3, :2] = 2
    stamps = torch.full((1, 6, 3), IGNORE)
    torch.manual_seed(0)
    heads = ChangeHeads(8)
    taps = [torch.randn(1, 6, CELLS + 1, 8, requires_grad=True) for _ in range(2)]
    pulls = []
    for coming in (0, 1):
        enters[0, 3, 0] = coming
        given = nothing | {"fresh": fresh, "enters": enters}
        (grad,) = torch.autograd.grad(heads(taps, given, stamps)[0], taps[1])
        pulls.append(grad[0, 3, :2].norm(dim=-1))
    assert (pulls[1] / pulls[0])[0] > 1.5
    assert (pulls[1] / pulls[0])[1] < 1.0


def test_a_timeline_is_watched_once() -> None:
    lessons = Lessons()
    timeline: DrawnTimeline = draw_timeline(np.random.default_rng(0), 1, 8, 0)
    first = lessons.of(timeline, np.arange(8), None)
    again = lessons.of(timeline, np.arange(2, 8), None)
    assert (first.count[0, 2:] == again.count[0]).all()
    assert (lessons.content(timeline, 3) == first.before[0, 4]).all()
