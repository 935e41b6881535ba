"""A packed branch is the same prompt: positions and logits equal those of the stock model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from onlooker.demo_model.answers import DrawnQuestion
from onlooker.demo_model.dataset import Layout, sink_text
from onlooker.demo_model.model import build_config, build_model
from onlooker.demo_model.phrases import vocabulary
from onlooker.demo_model.table import SHAPES
from onlooker.demo_model.tokenizer import build_tokenizer
from onlooker.demo_model.training.changes import Lessons
from onlooker.demo_model.training.contexts import Branch, Context, Drawer
from onlooker.demo_model.training.language import forward, pointer_loss
from onlooker.demo_model.training.packing import pack
from onlooker.demo_model.training.pool import DrawnTimeline, Pool, build_pool
from onlooker.demo_model.world import COLOR_NAMES

HISTORY = (("What shape is it?", "a star"),)
QUESTIONS = [
    DrawnQuestion("at", "What color was the star at 12 seconds?", "red"),
    DrawnQuestion("follow", "And the color?", "green", history=HISTORY),
    DrawnQuestion("now", "What do you see?", "a red circle and a blue star"),
]


@pytest.fixture(scope="module")
def model() -> Qwen3VLForConditionalGeneration:
    model = build_model(build_config(build_tokenizer(vocabulary())))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "norm" not in name:
                value.mul_(2.0)
    return model


@pytest.fixture(scope="module")
def layout() -> Layout:
    return Layout(build_tokenizer(vocabulary()))


@pytest.fixture(scope="module")
def pool(model: Qwen3VLForConditionalGeneration, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder: Path = tmp_path_factory.mktemp("pool")
    build_pool(model.model.visual, folder, range(2), clips=12)
    return Pool(folder, 256)


def make_context(pool: Pool, rows: list[int], gap: int = 0, notes: bool = False) -> Context:
    branches = [Branch(1 + n % len(rows), q, notes) for n, q in enumerate(QUESTIONS * 2)]
    picked = np.array(rows)
    return Context(pool.timelines[1], picked, None, np.arange(len(rows)), gap, branches)


def stock_logits(
    model: Qwen3VLForConditionalGeneration, layout: Layout, pool: Pool, context: Context, at: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Position ids and answer logits of one branch as an ordinary prompt."""
    branch = context.branches[at]
    ids = list(layout.encode(sink_text()))
    rows = context.rows[: branch.seen]
    for row in rows:
        ids += layout.clip(context.timeline.stamps[row])
    for question, answer in branch.question.history:
        turn = layout.turn(question, answer)
        ids += [*turn.question, *turn.answer, *layout.encode("<|im_start|>user\n")]
    turn = layout.turn(branch.question.text, branch.question.answer)
    ids += [*turn.question, *turn.answer[:-1]]
    input_ids = torch.tensor([ids])
    kinds = (input_ids == layout.video).int() * 2
    grid = torch.tensor([[1, 6, 6]] * len(rows))
    positions, _ = model.model.get_rope_index(input_ids, kinds, video_grid_thw=grid)
    picked = context.timeline.start + rows
    merged = [torch.tensor(pool.merged[row]).float() for row in picked]
    deep = [[torch.tensor(pool.deep[row]).float() for row in picked]]
    video = BaseModelOutputWithDeepstackFeatures(pooler_output=merged, deepstack_features=deep)
    model.model.rope_deltas = None
    with torch.no_grad():
        out = model(
            input_ids=input_ids,
            video_grid_thw=grid,
            mm_token_type_ids=kinds,
            mm_encoder_outputs={"video": video},
        )
    return positions[:, 0], out.logits[0, -len(turn.answer) :]


@pytest.mark.parametrize("rows", [[0], [2, 3, 4], [0, 3, 4, 9, 11]])
def test_packed_branches_give_the_logits_of_separate_prompts(
    model: Qwen3VLForConditionalGeneration, layout: Layout, pool: Pool, rows: list[int]
) -> None:
    context = make_context(pool, rows)
    packed = pack(layout, [context], pool, "You watch a video and answer questions about it.")
    with torch.no_grad():
        seen = forward(model.model.language_model, packed, layout.video)
    cursor = 0
    for at in range(len(context.branches)):
        positions, logits = stock_logits(model, layout, pool, context, at)
        ours = packed.branch_positions[:, 0][:, packed.branch_of[0] == at]
        assert torch.equal(ours, positions[:, -ours.shape[1] :])
        torch.testing.assert_close(
            seen.logits[cursor : cursor + len(logits)], logits, atol=1e-4, rtol=1e-4
        )
        cursor += len(logits)
    assert cursor == len(seen.logits)


def test_a_branch_does_not_see_other_branches_or_later_clips(
    model: Qwen3VLForConditionalGeneration, layout: Layout, pool: Pool
) -> None:
    context = make_context(pool, [0, 1, 2, 3])
    changed = make_context(pool, [0, 1, 2, 7])
    changed.branches[2:] = context.branches[2:][::-1]
    results = []
    for one in (context, changed):
        packed = pack(layout, [one], pool, None)
        with torch.no_grad():
            results.append(forward(model.model.language_model, packed, layout.video).logits)
    first_two = sum(len(layout.turn(q.text, q.answer).answer) for q in QUESTIONS[:2])
    torch.testing.assert_close(results[0][:first_two], results[1][:first_two])
    assert not torch.allclose(results[0][-3:], results[1][-3:], atol=1e-3)


def test_retrieval_scores_have_one_row_a_question_and_one_column_a_clip(
    model: Qwen3VLForConditionalGeneration, layout: Layout, pool: Pool
) -> None:
    contexts = [make_context(pool, [0, 1, 2]), make_context(pool, [4, 5, 6], gap=40, notes=True)]
    packed = pack(layout, contexts, pool, None)
    with torch.no_grad():
        seen = forward(model.model.language_model, packed, layout.video, score_layers=(1, 4))
    assert [s.shape for s in seen.scores] == [(12, 6), (12, 6)]
    assert packed.candidates.sum(1).tolist() == [1, 2, 3, 1, 2, 3] * 2


def test_stamps_are_the_tokenizers_own(layout: Layout) -> None:
    for seconds in (0.0, 0.3, 9.96, 12.5, 345.25, 35_999.95, 99_999.9, 123_456.7):
        assert layout.stamp(seconds) == list(layout.encode(f"<{seconds:.1f} seconds>"))


def test_drawn_contexts_are_packed_whatever_they_hold(
    model: Qwen3VLForConditionalGeneration, layout: Layout, pool: Pool
) -> None:
    rng = np.random.default_rng(0)
    drawer = Drawer(pool)
    for _ in range(8):
        contexts = [drawer.context(rng, 12, 5) for _ in range(2)]
        packed = pack(layout, contexts, pool, None)
        with torch.no_grad():
            seen = forward(model.model.language_model, packed, layout.video, score_layers=(2,))
        assert torch.isfinite(seen.logits).all()
        assert (packed.evidence & ~packed.candidates).sum() == 0


@pytest.mark.parametrize("layer", [1, 4])
def test_pointers_are_shares_of_attention_over_seen_tokens(
    model: Qwen3VLForConditionalGeneration, layout: Layout, pool: Pool, layer: int
) -> None:
    contexts = [make_context(pool, [0, 1, 2]), make_context(pool, [4, 5, 6], gap=40, notes=True)]
    for context in contexts:
        for branch in context.branches:
            branch.question = replace(branch.question, evidence=(branch.seen - 1,))
    packed = pack(layout, contexts, pool, None)
    with torch.no_grad():
        seen = forward(model.model.language_model, packed, layout.video, point_layers=(layer,))
        loss, share = pointer_loss(seen.pointers[0], packed)
    shares = seen.pointers[0].exp()
    _, whose = packed.pointing()
    torch.testing.assert_close(shares.sum(-1), torch.ones(len(whose), 2))
    clips = [int((row > 0).sum()) for row in shares[:, 0]]
    opening = len(layout.encode(sink_text(None)))
    assert clips == [opening + 15 * (1 + n % 6 % 3) for n in whose.tolist()]
    assert 0.0 < share < 1.0
    assert loss.item() > 0.0


def test_every_word_of_an_answer_points_at_the_evidence(layout: Layout, pool: Pool) -> None:
    context = make_context(pool, [0, 1, 2])
    timed = DrawnQuestion("first_seen", "When did you first see a star?", "at 12 seconds", (0,))
    context.branches = [Branch(3, QUESTIONS[0]), Branch(3, timed)]
    packed = pack(layout, [context], pool, None)
    at, whose = packed.pointing()
    answers = [layout.turn(q.text, q.answer).answer for q in (QUESTIONS[0], timed)]
    assert whose.tolist() == [0] * len(answers[0]) + [1] * len(answers[1])
    assert packed.targets[0][at].tolist() == [*answers[0], *answers[1]]
    assert packed.pointed[1].sum() > 0


@pytest.mark.parametrize(("answer", "sink"), [("no", True), ("never", True), ("three", False)])
def test_attention_rests_on_the_sink_when_there_is_nothing_to_look_at(
    layout: Layout, pool: Pool, answer: str, sink: bool
) -> None:
    context = make_context(pool, [0, 1])
    context.branches = [Branch(2, DrawnQuestion("ever", "Was there ever a red star?", answer))]
    packed = pack(layout, [context], pool, None)
    opening = len(layout.encode(sink_text(None)))
    assert packed.pointed[0, :opening].all() == sink
    assert not packed.pointed[0, opening:].any()


def test_gathered_contexts_hold_clips_from_far_apart(pool: Pool) -> None:
    rng = np.random.default_rng(0)
    drawn = [Drawer(pool).context(rng, 5, 1, gathered=True) for _ in range(8)]
    assert all(len(context.rows) == 5 and context.window is None for context in drawn)
    assert any(int(np.diff(context.rows).max()) > 2 for context in drawn)


class _Two(Lessons):
    """A blue star at the top and a red circle on the left."""

    def content(self, timeline: DrawnTimeline, row: int) -> NDArray[np.int64]:
        labels = np.zeros((9, 3), np.int64)
        for cell, color, shape in ((1, "blue", "star"), (3, "red", "circle")):
            labels[cell, :2] = COLOR_NAMES.index(color) + 1, SHAPES.index(shape) + 1
        return labels


def test_each_object_of_a_list_is_looked_at_while_it_is_named(layout: Layout, pool: Pool) -> None:
    listed = DrawnQuestion("now_list", "What do you see?", "a red circle and a blue star", (1,))
    context = make_context(pool, [0, 1])
    context.branches = [Branch(2, QUESTIONS[0]), Branch(2, listed)]
    packed = pack(layout, [context], pool, None, _Two())
    _, rows = packed.pointing()
    answer = layout.turn(listed.text, listed.answer).answer
    words = [layout.tokenizer.id_to_token(token) for token in answer]
    opening = len(layout.encode(sink_text(None))) + 15 + 5  # the second clip's video tokens
    looked = [np.flatnonzero(packed.pointed[row]).tolist() for row in rows[-len(words) :]]
    cells = {"red": 3, "circle": 3, "blue": 1, "star": 1}
    for word, places in zip(words, looked, strict=True):
        if word in cells:
            assert places == [opening + cells[word]]
    assert rows[-1] == 1  # the end is no object's: it goes by the question
