"""Both stages learn something, go on where they stopped, and never touch held-out worlds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onlooker.demo_model.dataset import Layout
from onlooker.demo_model.examples import TEST_SEED, VALIDATION_SEED
from onlooker.demo_model.model import build_config, build_model, write_folder
from onlooker.demo_model.phrases import vocabulary
from onlooker.demo_model.questions import FAMILIES
from onlooker.demo_model.tokenizer import build_tokenizer
from onlooker.demo_model.train import Options, load_model, train_vision
from onlooker.demo_model.training.changes import KINDS, change_labels, content_labels
from onlooker.demo_model.training.clips import (
    LABELS,
    MAX_TRAIN_SEED,
    ClipRing,
    ClipTimes,
    cell_of,
    frame_labels,
    make_clip,
)
from onlooker.demo_model.training.contexts import Context
from onlooker.demo_model.training.learner import LanguagePlan, LanguageTrainer
from onlooker.demo_model.training.plots import plot_run
from onlooker.demo_model.training.pool import Pool, build_pool, draw_timeline
from onlooker.demo_model.training.vision import VisionPlan, VisionTrainer
from onlooker.demo_model.world import World
from tests.unit.demo_model.small import HIDDEN, small_model

TOKENIZER = build_tokenizer(vocabulary())


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> ClipRing:
    """Forty rendered clips."""
    ring = ClipRing(tmp_path_factory.mktemp("ring"), 40, create=True)
    rng = np.random.default_rng(0)
    for slot in range(40):
        times = ClipTimes(10.0 * slot, 10.0 * slot + 0.5)
        ring.pixels[slot], ring.labels[slot] = make_clip(World(slot), times, rng)
    ring.count[0] = 40
    return ring


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    build_pool(small_model(TOKENIZER).model.visual, folder, range(3), clips=24)
    return Pool(folder, HIDDEN)


def test_held_out_seeds_lie_beyond_all_training_seeds() -> None:
    assert MAX_TRAIN_SEED <= VALIDATION_SEED < TEST_SEED


@pytest.mark.parametrize(
    ("x", "y", "cell"), [(0.17, 0.5, 3), (0.5, 0.17, 1), (0.83, 0.9, 8), (0.34, 0.5, None)]
)
def test_cells_tile_the_frame_and_borders_belong_to_none(
    x: float, y: float, cell: int | None
) -> None:
    assert cell_of(x, y) == cell


def test_labels_say_what_stands_where() -> None:
    scene = World(3).state_at(40.0)
    labels = frame_labels(scene)
    fields = labels[:36].reshape(4, 9)
    still = [o for o in scene.objects if not o.moving]
    assert still
    for thing in still:
        cell = cell_of(thing.x, thing.y)
        assert cell is not None
        assert fields[0, cell] > 0
        assert fields[1, cell] > 0
    assert labels[36] == (0 if scene.sign is None else scene.sign + 1)
    assert len(labels) * 2 + 1 == LABELS


def test_change_labels_name_each_kind_where_it_shows() -> None:
    seen = set()
    world = World(11)
    for second in range(400):
        before, after = world.state_at(second), world.state_at(second + 1.0)
        labels = change_labels(before, after)
        seen |= {KINDS[k] for k in labels if k >= 0}
        if before.content() == after.content():
            assert set(labels) == {0}
    assert seen == set(KINDS)
    assert content_labels(world.state_at(0.0)).shape == (9, 3)


def test_the_vision_stage_learns_and_resumes(ring: ClipRing, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tower = small_model(TOKENIZER).model.visual.train()
    trainer = VisionTrainer(tower, VisionPlan(batch=16, warmup=5), tmp_path)
    rng = np.random.default_rng(0)
    losses = [trainer.learn(*ring.batch(16, rng), 0.0)["loss"] for _ in range(15)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    trainer.save()
    again = VisionTrainer(small_model(TOKENIZER, 9).model.visual.train(), VisionPlan(), tmp_path)
    again.load(torch.load(tmp_path / "vision.pt", weights_only=True))
    assert again.step == trainer.step
    batch = ring.batch(8, np.random.default_rng(1))
    assert again.learn(*batch, 0.0)["loss"] == pytest.approx(
        trainer.learn(*batch, 0.0)["loss"], rel=1e-3
    )


def test_the_language_stage_learns_resumes_and_logs(pool: Pool, tmp_path: Path) -> None:
    plan = LanguagePlan(
        rate=4e-3, warmup=2, questions_a_batch=24, clips_a_batch=8, log_every=1, seconds=1e9,
        level_up_at=2.0,
    )  # fmt: skip
    layout = Layout(TOKENIZER)
    trainer = LanguageTrainer(small_model(TOKENIZER), layout, pool, plan, tmp_path)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(10):
        clips, _ = trainer.size(rng)
        assert clips <= 2
        trainer.learn(trainer.batch(rng, clips), clips)
        losses.append(trainer.marks.take()["loss"])
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    trainer.save()
    plan.seconds = 0.0
    again = LanguageTrainer(small_model(TOKENIZER, 5), layout, pool, plan, tmp_path)
    again.load(torch.load(tmp_path / "language.pt", weights_only=True))
    assert again.step == 10
    again.run(0)
    for name, value in again.text.state_dict().items():
        assert torch.equal(value, trainer.text.state_dict()[name])


def test_where_nothing_can_be_asked_of_some_families_all_are_tried(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, layout = small_model(TOKENIZER), Layout(TOKENIZER)
    trainer = LanguageTrainer(model, layout, pool, LanguagePlan(clips_a_batch=4), tmp_path)
    draw, asked = trainer.drawer.context, []

    def without_weak_ones(*given: Any) -> Context:
        context = draw(*given)
        asked.append(given[3])
        if given[3] is not None:
            context.branches = []
        return context

    monkeypatch.setattr(trainer.drawer, "context", without_weak_ones)
    monkeypatch.setattr(trainer, "families", lambda rng: ("when_changed",))
    packed = trainer.batch(np.random.default_rng(0), 4)
    assert asked == [("when_changed",), None]
    assert len(packed.family) > 0


def test_weak_families_get_contexts_of_their_own(pool: Pool, tmp_path: Path) -> None:
    plan = LanguagePlan(weak_below=0.9, weak_share=0.5, counting_share=0.0)
    model, layout = small_model(TOKENIZER), Layout(TOKENIZER)
    trainer = LanguageTrainer(model, layout, pool, plan, tmp_path)
    rng = np.random.default_rng(0)
    trainer.smooth = dict.fromkeys(FAMILIES, 0.95)
    assert {trainer.families(rng) for _ in range(20)} == {None}
    trainer.smooth["last_seen"] = 0.5
    drawn = [trainer.families(rng) for _ in range(60)]
    assert {None, ("last_seen",)} == set(drawn)
    assert 10 < drawn.count(None) < 50


def test_counting_gets_its_share_of_the_contexts_however_weak_it_is(
    pool: Pool, tmp_path: Path
) -> None:
    plan = LanguagePlan(counting_share=0.25)
    trainer = LanguageTrainer(small_model(TOKENIZER), Layout(TOKENIZER), pool, plan, tmp_path)
    rng = np.random.default_rng(0)
    trainer.smooth = dict.fromkeys(FAMILIES, 1.0) | dict.fromkeys(plan.counting, 0.5)
    drawn = [trainer.families(rng) for _ in range(200)]
    assert set(drawn) == {None, plan.counting}
    assert 30 < drawn.count(plan.counting) < 70


def test_a_run_goes_on_from_a_folder_and_keeps_its_tower(tmp_path: Path) -> None:
    model = build_model(build_config(TOKENIZER), 3)
    write_folder(tmp_path / "folder", model, TOKENIZER, torch.float32)
    options = Options(
        run=tmp_path,
        out=tmp_path / "out",
        vision_minutes=1e9,  # would never end
        start=tmp_path / "folder",
    )
    found = load_model(TOKENIZER, options)
    assert found.config.to_dict() == model.config.to_dict()  # whatever is exported is alike
    train_vision(found, options)
    tower = torch.load(tmp_path / "tower.pt", weights_only=True)
    for name, value in model.model.visual.state_dict().items():
        assert torch.equal(tower[name], value)
    words = build_tokenizer([*vocabulary(), *(f"extra{n}" for n in range(64))])
    with pytest.raises(ValueError, match="words"):
        load_model(words, options)


def test_timelines_reach_into_hours_and_skip(pool: Pool) -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_timeline(rng, seed, 30, 0) for seed in range(60)]
    assert any(t.stamps[0] > 7_200 for t in drawn)
    assert any(max(np.diff(t.stamps)) > 15 for t in drawn)
    assert any(t.firsts == t.seconds for t in drawn)
    assert all(list(t.stamps) == sorted(t.stamps) for t in drawn)


def test_a_run_is_plotted_even_when_a_stage_is_missing(tmp_path: Path) -> None:
    row = {"step": 1, "level": 2, "loss": 1.0, "now_color": 0.5, "ever": 0.4}
    (tmp_path / "language.jsonl").write_text(json.dumps(row) + "\n")
    assert plot_run(tmp_path).stat().st_size > 1_000
