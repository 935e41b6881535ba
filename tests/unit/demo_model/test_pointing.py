"""Which tokens are pointed at for a question, and how far attention is from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from onlooker.demo_model.answers import NUMBER_WORDS, DrawnQuestion
from onlooker.demo_model.dataset import Layout
from onlooker.demo_model.phrases import vocabulary
from onlooker.demo_model.table import SHAPES
from onlooker.demo_model.tokenizer import build_tokenizer
from onlooker.demo_model.training.changes import Lessons
from onlooker.demo_model.training.contexts import COUNTED, Branch, Context, Drawer
from onlooker.demo_model.training.language import Packed, pointer_loss
from onlooker.demo_model.training.packing import pack
from onlooker.demo_model.training.pointing import counted_tokens, pointed_tokens
from onlooker.demo_model.training.pool import DrawnTimeline, Pool, draw_timeline
from onlooker.demo_model.training.vision import SIGN_CELL
from onlooker.demo_model.world import COLOR_NAMES

TIMELINE = draw_timeline(np.random.default_rng(0), 1, 64, 0)


class _Shown(Lessons):
    """A red circle on the left in the first two clips only."""

    def content(self, timeline: DrawnTimeline, row: int) -> NDArray[np.int64]:
        labels = np.zeros((9, 3), np.int64)
        if row < 2:
            labels[3, :2] = COLOR_NAMES.index("red") + 1, SHAPES.index("circle") + 1
        return labels


@pytest.mark.parametrize(
    ("family", "text", "evidence", "rows", "clip", "tokens"),
    [
        ("first_seen", "When did you first see a red circle?", 0, [0, 1, 2], 0, {3}),
        ("last_seen", "When did you last see a red circle?", 1, [0, 1, 2], 2, {3}),
        ("last_seen", "When did you last see something red?", 1, [0, 1], 1, {3}),
        ("when_changed", "When was the red circle gone?", 2, [0, 1, 2], 2, {3}),
        ("at_time_count", "How many objects were there at 7 seconds?", 2, [0, 1, 2], 2, {9}),
        ("now_list", "What do you see?", 1, [0, 1], 1, {3}),
        ("now_list", "What do you see?", 2, [0, 1, 2], 2, set(range(10))),
    ],
)
def test_a_question_points_at_what_shows_its_answer(
    family: str,
    text: str,
    evidence: int,
    rows: list[int],
    clip: int,
    tokens: set[int],
) -> None:
    question = DrawnQuestion(family, text, "", (evidence,))
    branch = Branch(len(rows), question)
    context = Context(TIMELINE, np.array(rows), None, np.arange(len(rows)), 0, [branch])
    found, which = pointed_tokens(context, branch, evidence, _Shown())
    assert found == clip
    assert set(np.flatnonzero(which)) == tokens


def test_what_was_seen_last_is_not_looked_for_in_a_clip_that_is_left_out() -> None:
    question = DrawnQuestion("last_seen", "When did you last see a red circle?", "", (1,))
    branch = Branch(3, question)
    rows, viewed = np.arange(4), np.array([0, 1, 3])
    context = Context(TIMELINE, rows, None, viewed, 0, [branch])
    assert pointed_tokens(context, branch, 1, _Shown())[0] == 1


class _Passing(Lessons):
    """A red circle on the left; from the second clip on a blue one on the right as well."""

    def content(self, timeline: DrawnTimeline, row: int) -> NDArray[np.int64]:
        labels = np.zeros((9, 3), np.int64)
        labels[3, :2] = COLOR_NAMES.index("red") + 1, SHAPES.index("circle") + 1
        if row > 0:
            labels[5, :2] = COLOR_NAMES.index("blue") + 1, SHAPES.index("circle") + 1
        return labels

    def shown(self, timeline: DrawnTimeline, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        bits = np.zeros(3, np.int64)
        for row in rows:
            for color, shape, _ in self.content(timeline, int(row)):
                if color:
                    kind = (color - 1) * len(SHAPES) + shape
                    bits |= np.left_shift(1, np.array((kind, color, shape)))
        return bits


@pytest.mark.parametrize(
    ("family", "text", "evidence", "tokens"),
    [
        ("how_many_so_far", "How many different colors were there so far?", 0, {3}),
        ("how_many_so_far", "How many different colors were there so far?", 1, {5}),
        ("how_many_so_far", "Count the different circles so far.", 1, {5}),
        ("how_many_so_far", "How many different shapes did you see?", 0, {3}),
        ("how_many_so_far", "How many different shapes did you see?", 1, {9}),
        ("how_many_times", "How often did a blue circle appear?", 1, {5}),
        ("how_many_times", "How often did a red circle appear?", 1, {3}),
        ("how_many_times", "How often did a red star appear?", 1, {9}),
        ("how_many_times", "How often did the sign change?", 1, {SIGN_CELL}),
        ("how_many_times", "Count the changes of the scene.", 1, {4}),
    ],
)
def test_what_counts_is_one_token_for_each_thing_that_a_clip_adds(
    family: str, text: str, evidence: int, tokens: set[int]
) -> None:
    branch = Branch(2, DrawnQuestion(family, text, "", (0, 1)))
    context = Context(TIMELINE, np.arange(2), None, np.arange(2), 0, [branch])
    clip, which = counted_tokens(context, branch, evidence, _Passing())
    assert clip == evidence
    assert set(np.flatnonzero(which)) == tokens


def _pool() -> Pool:
    pool = Pool.__new__(Pool)
    pool.timelines = [TIMELINE]
    blank = np.zeros((64, 9, 256), np.float16)
    pool.merged = pool.deep = blank  # type: ignore[assignment]
    return pool


def test_as_many_tokens_are_pointed_at_as_an_answer_counts_and_one_in_the_opening() -> None:
    layout, rng, pool = Layout(build_tokenizer(vocabulary())), np.random.default_rng(1), _pool()
    context = Drawer(pool).context(rng, 48, 40, COUNTED)
    packed = pack(layout, [context], pool, None)
    asked = [branch.question for branch in context.branches]
    counting = [question.family in COUNTED for question in asked]
    assert packed.evenly[: len(asked)].tolist() == counting
    assert not packed.evenly[len(asked) :].any()
    told = [NUMBER_WORDS.index(q.answer) for q in asked if q.family in COUNTED]
    found = (packed.pointed[: len(asked)].sum(1) - 1)[torch.tensor(counting)].tolist()
    exact = [a == b for a, b in zip(told, found, strict=True)]
    assert len(exact) > 20
    assert all(a >= b for a, b in zip(told, found, strict=True))
    assert np.mean(exact) > 0.8  # two things that come at once may be unclear together
    assert max(found) > 1
    assert packed.pointed[: len(asked)][torch.tensor(counting), 0].all()


def test_attention_that_counts_lies_on_all_tokens_alike() -> None:
    layout, pool = Layout(build_tokenizer(vocabulary())), _pool()
    text = "How often did the sign change?"
    counts = DrawnQuestion("how_many_times", text, NUMBER_WORDS[3], (2, 5, 7))
    context = Context(TIMELINE, np.arange(8), None, np.arange(8), 0, [Branch(8, counts)])
    packed = pack(layout, [context], pool, None)
    rows = packed.pointing()[1]
    shares = torch.where(packed.pointed[rows], 1.0, 0.0)[:, None]
    alike = (shares / shares.sum(-1, keepdim=True)).log()
    assert _far(alike, packed) == pytest.approx(0.0, abs=1e-6)
    askew = shares.clone()
    askew[:, :, 0] = 5.0
    askew = (askew / askew.sum(-1, keepdim=True)).log()
    assert _far(askew, packed) > 0.1
    any_of_them = replace(packed, evenly=torch.zeros_like(packed.evenly))
    assert _far(askew, any_of_them) == pytest.approx(0.0, abs=1e-6)


def _far(pointers: torch.Tensor, packed: Packed) -> float:
    return pointer_loss(pointers, packed)[0].item()
