"""What the calibration watches and asks."""

import json
from pathlib import Path

import numpy as np

from onlooker.demo_model.calibrate import (
    FIRST_SEED,
    Plan,
    questions,
    stream_of,
    write,
)
from onlooker.demo_model.examples import TEST_SEED, VALIDATION_SEED
from onlooker.demo_model.world import World
from onlooker.engine.memory.ranking import Ranking
from onlooker.engine.vllm_adapter.gateway.model_folder import Profile

PLAN = Plan(model="demo", streams=1, clips=120, each=4, recent=8, k=8)


def test_it_looks_at_worlds_for_validation_only() -> None:
    assert VALIDATION_SEED <= FIRST_SEED < TEST_SEED
    assert FIRST_SEED + 100_000 < TEST_SEED


def test_all_evidence_has_left_the_window_and_no_question_names_a_time() -> None:
    asked = list(questions(World(FIRST_SEED), PLAN, np.random.default_rng(0)))
    assert len(asked) >= 8
    assert len({question.family for question in asked}) >= 3
    for question in asked:
        assert max(question.evidence) < PLAN.clips - PLAN.recent


def test_clips_are_of_the_size_that_the_model_wants() -> None:
    (clip,) = stream_of(World(FIRST_SEED), 1, "s", (96, 64))
    assert clip.frames[0].pixels.shape == (64, 96, 3)
    assert (clip.start_s, clip.end_s) == (0.0, 0.5)


def test_what_it_writes_is_read_with_the_profile_and_leaves_the_rest(tmp_path: Path) -> None:
    profile = {"frame_width": 96, "knows": "shapes", "later": 1}
    (tmp_path / "onlooker.json").write_text(json.dumps(profile))
    ranking = Ranking(second_look="late_interaction", voting_layers=(1, 3), temperature=0.5)
    written = json.loads(write(tmp_path, ranking).read_text())
    assert {key: written[key] for key in profile} == profile
    assert Profile.model_validate(written).ranking == ranking
