"""What the benchmark of several cameras asks for, and what it counts as right."""

import random

import pytest

from onlooker.benchmarks.scenarios.cameras import (
    CameraScore,
    DrawnCamera,
    mark_answer,
    pick_question,
    table,
)
from onlooker.demo_model.things import Kind
from onlooker.demo_model.world import World

CIRCLE, STAR = ("red", "circle"), ("blue", "star")


def camera(stream: str, *shown: tuple[Kind, ...]) -> DrawnCamera:
    return DrawnCamera(stream, World(0), [frozenset(kinds) for kinds in shown])


def test_what_is_asked_for_now_is_shown_by_one_camera_and_has_been_for_a_moment() -> None:
    cameras = [camera("a", (CIRCLE,), (CIRCLE, STAR)), camera("b", (STAR,), ())]
    assert pick_question("now", cameras, random.Random(1)) == (CIRCLE, "a")
    cameras = [camera("a", (CIRCLE,), (CIRCLE,)), camera("b", (CIRCLE,), (CIRCLE,))]
    assert pick_question("now", cameras, random.Random(1)) is None


def test_what_is_asked_for_before_is_gone_and_was_never_at_another_camera() -> None:
    cameras = [camera("a", (STAR,), (STAR,), ()), camera("b", (CIRCLE,), (CIRCLE,), (CIRCLE,))]
    assert pick_question("before", cameras, random.Random(1)) == (STAR, "a")
    cameras[1].shown[0] |= {STAR}
    assert pick_question("before", cameras, random.Random(1)) is None


def test_what_is_nowhere_was_shown_by_no_camera() -> None:
    found = pick_question("nowhere", [camera("a", (CIRCLE,))], random.Random(1))
    assert found is not None
    assert found[0] != CIRCLE
    assert found[1] is None


@pytest.mark.parametrize(
    ("named", "stream", "right", "alone"),
    [
        (["a"], "a", 1, 1),
        (["a", "b"], "a", 1, 0),
        (["b", "a"], "a", 0, 0),
        ([], "a", 0, 0),
        ([], None, 1, 1),
        (["a"], None, 0, 0),
    ],
)
def test_an_answer_is_right_where_the_right_camera_is_named_first(
    named: list[str], stream: str | None, right: int, alone: int
) -> None:
    score = CameraScore()
    mark_answer(score, named, stream)
    assert (score.asked, score.right, score.alone) == (1, right, alone)


def test_the_table_has_the_share_of_right_cameras() -> None:
    forms = {"now": {"asked": 4, "right": 3, "alone": 2}}
    told = table({"cameras": 8, "right_camera": 0.75, "forms": forms, "missed": []})
    assert "right camera 0.750" in told
