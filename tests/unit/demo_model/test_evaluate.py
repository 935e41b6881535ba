"""Evaluation: prompts, held-out items, and the figures that are reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onlooker.demo_model.answers import SILENCE, DrawnQuestion
from onlooker.demo_model.dataset import Layout, sink_text
from onlooker.demo_model.evaluate import (
    Reply,
    Results,
    best_threshold,
    prompt_text,
    video_item,
)
from onlooker.demo_model.examples import (
    SETTINGS,
    TEST_SEED,
    ExampleItem,
    draw_context,
    draw_items,
    in_conversation,
    reported_family,
)
from onlooker.demo_model.phrases import vocabulary
from onlooker.demo_model.tokenizer import build_tokenizer
from onlooker.demo_model.view import View, clip_at
from onlooker.demo_model.world import World


def test_prompts_have_the_tokens_that_training_has() -> None:
    layout = Layout(build_tokenizer(vocabulary()))
    question = DrawnQuestion(
        "f", "And the color?", "red", history=(("What shape is it?", "a star"),)
    )
    expected = [*layout.encode(sink_text()), layout.video, layout.video]
    earlier = layout.turn("What shape is it?", "a star")
    expected += [*earlier.question, *earlier.answer, *layout.encode("<|im_start|>user\n")]
    expected += layout.turn("And the color?", "red").question
    assert list(layout.encode(prompt_text(question, 2))) == expected


@pytest.mark.parametrize("name", list(SETTINGS))
def test_contexts_are_held_out_and_hold_what_their_setting_says(name: str) -> None:
    setting = SETTINGS[name]
    small = type(setting)(setting.name, min(setting.recent, 4), min(setting.old, 2), setting.span)
    world, clips, view = draw_context(small, TEST_SEED + 5, np.random.default_rng(0))
    assert world.seed >= TEST_SEED
    assert len(clips) == len(view) == small.recent + small.old
    assert list(view.stamps) == sorted(view.stamps)
    items = list(draw_items(view, 0, np.random.default_rng(0), ["now_digit", "narrate"]))
    assert all(item.age_s is None or item.age_s >= 0 for item in items)


def test_stamps_in_the_metadata_are_those_of_the_clip() -> None:
    _, clips, _ = draw_context(SETTINGS["short"], TEST_SEED, np.random.default_rng(3))
    for filmed in clips:
        pixels, metadata = video_item(filmed)
        assert pixels.shape == (2, 72, 72, 3)
        mean = sum(metadata["frames_indices"]) / 2 / metadata["fps"]
        assert mean == pytest.approx(filmed.clip.t_s, abs=0.002)


def test_results_are_counted_per_family_and_age() -> None:
    quiet = DrawnQuestion("narrate", "What just changed?", SILENCE, accepted=("",))
    moved = DrawnQuestion("narrate", "What just changed?", "The scene changed.", (1,))
    yes = DrawnQuestion("check", "Is there a cut?", "yes", (1,))
    results = Results(
        [
            (ExampleItem(0, quiet, 0.0), Reply("", None)),
            (ExampleItem(0, moved, 0.0), Reply("", None)),
            (ExampleItem(0, yes, 40.0), Reply("yes", 0.8)),
            (ExampleItem(0, yes, 2.0), Reply("no", 0.3)),
        ]
    )
    table = results.table()
    assert reported_family(quiet) == "narrate_silent"
    assert table["narrate_silent"] == {"accuracy": 1.0, "n": 1}
    assert table["narrate_change"] == {"accuracy": 0.0, "n": 1}
    assert table["check"] == {"accuracy": 0.5, "n": 2}
    assert results.by_age()["check"] == {
        "32+": {"accuracy": 1.0, "n": 1},
        "1+": {"accuracy": 0.0, "n": 1},
    }
    assert results.checks() == ([0.8, 0.3], [True, True])
    assert len(results.mistakes(10)) == 2


def test_the_threshold_parts_yes_from_no() -> None:
    assert 0.3 < best_threshold([0.1, 0.3, 0.7, 0.9], [False, False, True, True]) < 0.7
    assert best_threshold([0.8, 0.9, 0.95], [False, True, True]) > 0.8


def test_one_odd_answer_of_hundreds_does_not_move_the_threshold() -> None:
    chances, truths = [0.1] * 150 + [0.9] * 150, [False] * 150 + [True] * 150
    plain = best_threshold(chances, truths)
    assert abs(best_threshold([*chances, 0.15], [*truths, True]) - plain) < 0.05
    assert 0.4 < plain < 0.6


def test_a_question_stands_behind_as_many_turns_as_are_wanted() -> None:
    rng = np.random.default_rng(1)
    view = View(World(TEST_SEED + 3), [clip_at(float(t)) for t in range(1, 25)])
    families = ["now_count", "ever", "follow_up", "check", "narrate"]
    items = list(draw_items(view, 0, rng, families * 4))
    talked = in_conversation(items, view, rng, 5)
    for item, plain in zip(talked, items, strict=True):
        own = plain.question.history
        is_watched = plain.question.family in ("check", "narrate")
        assert len(item.question.history) == (0 if is_watched else 5)
        assert item.question.history[5 - len(own) :] == own
        assert replace(item.question, history=own) == plain.question
