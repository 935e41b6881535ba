"""The montage of an hour: rare things come once, and the ground truth knows when."""

import pytest

from onlooker.benchmarks.hour import FAMILIES, MAX_RUN, NUM_RARE, Hour
from onlooker.core.ids import StreamId

MINUTES = 10


@pytest.fixture(scope="module")
def hour() -> Hour:
    return Hour(7, 60 * MINUTES)


def test_half_of_the_rare_kinds_come_in_one_run_each(hour: Hour) -> None:
    found = {}
    for kind in hour.rare:
        at = [index for index, kinds in enumerate(hour.view.shown) if kind in kinds]
        if at:
            assert at == list(range(at[0], at[0] + len(at)))
            assert len(at) <= MAX_RUN
            found[kind] = at[0]
    assert len(found) == NUM_RARE // 2
    assert max(found.values()) - min(found.values()) > 60 * MINUTES / 4  # all over the time


def test_clips_are_a_second_apart_and_show_what_the_view_says(hour: Hour) -> None:
    clips = list(hour.clips(StreamId("s"), 24, 24))
    assert [clip.start_s for clip in clips] == [float(n) for n in range(60 * MINUTES)]
    assert len(hour.view) == len(clips)
    assert all(clip.frames[0] is clip.frames[1] for clip in clips)


def test_questions_are_of_all_families_and_answers_are_balanced(hour: Hour) -> None:
    asked = hour.questions(50)
    assert {one.quiz.family for one in asked} == set(FAMILIES)
    ever = [one.quiz.answer for one in asked if one.quiz.family == "ever"]
    assert abs(ever.count("yes") - ever.count("no")) <= 2
    for one in asked:
        assert (one.age_s is None) == (not one.quiz.evidence)


def test_the_same_seed_gives_the_same_hour(hour: Hour) -> None:
    again = Hour(7, 60 * MINUTES)
    assert again.rare == hour.rare
    assert again.view.shown == hour.view.shown
