"""Scores of what is said without being asked, on cases that can be counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.benchmarks.adapters import proactive_video_qa, streaming_bench
from onlooker.benchmarks.adapters.asked import Answered, Pushed, ReplyForm, VideoProbe
from onlooker.benchmarks.adapters.pauc import duplicate_ratio, pauc, without_late_harm

TURN = {"content": "a red car", "start_s": 10.0, "end_s": 20.0, "shown_until_s": 20.0}


def watched(*pushed: tuple[float, str], **more: object) -> Answered:
    probe = VideoProbe(
        key="k", at_s=20.0, text="?", form=ReplyForm.PUSHED, truth="goal", group="WEB", more=more
    )
    return Answered(probe=probe, reply="", pushed=tuple(Pushed(*one) for one in pushed))


@pytest.mark.parametrize(
    ("points", "omega", "area"),
    [
        ([], 0.5, 0.25),  # silence is worth half a point of two
        ([(10.0, 2)], 0.5, 1.0),  # right at once
        ([(10.0, 0)], 0.5, 0.0),  # wrong at once: worse than silence
        ([(20.0, 2)], 0.0, 0.25),  # right, but only at the very end
        ([(20.0, 2)], 0.5, (5 * 0.5 + 5 * 2) / 20),  # the same, as if half as late
        ([(20.0, 2)], 1.0, 1.0),  # the same, where times do not count
        ([(20.0, 2)], 0.25, (7.5 * 0.5 + 2.5 * 2) / 20),  # as if three quarters as late
        ([(12.0, 1), (16.0, 2)], 0.0, (2 * 0.5 + 4 * 1 + 4 * 2) / 20),
        ([(12.0, 2), (16.0, 1)], 0.0, (2 * 0.5 + 4 * 2 + 4 * 1) / 20),  # talked out of it
    ],
)
def test_pauc_is_the_share_of_the_area(
    points: list[tuple[float, float]], omega: float, area: float
) -> None:
    assert pauc(points, start_s=10.0, end_s=20.0, omega=omega) == pytest.approx(area)


def test_a_span_without_length_counts_what_was_said_in_it() -> None:
    assert pauc([(10.0, 1), (10.0, 2)], start_s=10.0, end_s=10.0) == 1.0
    assert pauc([], start_s=10.0, end_s=10.0) == 0.25


@given(
    st.lists(st.tuples(st.floats(10, 20), st.sampled_from([0, 1, 2])), max_size=8),
    st.floats(0, 1),
)
def test_pauc_is_between_nothing_and_all(points: list[tuple[float, int]], omega: float) -> None:
    found = pauc(sorted(points), start_s=10.0, end_s=20.0, omega=omega)
    assert -1e-9 <= found <= 1 + 1e-9


@pytest.mark.parametrize(
    ("points", "kept"),
    [
        ([(11.0, 1), (14.0, 2), (16.0, 1)], [(11.0, 1), (14.0, 2)]),  # late, and worse: left out
        ([(11.0, 1), (16.0, 2)], [(11.0, 1), (16.0, 2)]),  # late, and better
        ([(11.0, 2), (14.0, 1)], [(11.0, 2), (14.0, 1)]),  # worse, but while it was shown
        ([(16.0, 0)], [(16.0, 0)]),  # nothing was said before
        (
            [(11.0, 1), (16.0, 2), (17.0, 1)],
            [(11.0, 1), (16.0, 2), (17.0, 1)],
        ),  # no worse than then
    ],
)
def test_late_replies_that_make_it_worse_are_not_held_against_a_model(
    points: list[tuple[float, float]], kept: list[tuple[float, float]]
) -> None:
    assert without_late_harm(points, shown_until_s=15.0) == kept


@given(st.floats(10, 20), st.floats(10, 20), st.floats(0, 0.9))
def test_to_be_right_earlier_is_never_worse(one_s: float, other_s: float, omega: float) -> None:
    early_s, late_s = sorted((one_s, other_s))
    early = pauc([(early_s, 2)], start_s=10.0, end_s=20.0, omega=omega)
    late = pauc([(late_s, 2)], start_s=10.0, end_s=20.0, omega=omega)
    assert early >= late - 1e-9


@pytest.mark.parametrize(
    ("said", "points"),
    [
        ("There is a red car!", 2), ("The car has come.", 0), ("A car, a big one.", 1),
        ("A scared red carpet", 1), ("", 0),
    ],
)  # fmt: skip
def test_points_are_given_by_whole_words(said: str, points: int) -> None:
    assert proactive_video_qa.points_of(said, "a red car") == points


def test_replies_count_in_the_span_of_their_answer_only() -> None:
    ones = [watched((9.9, "a red car"), (20.1, "a red car"), turns=[TURN])]
    assert proactive_video_qa.scores(ones)["all"] == 0.25
    assert proactive_video_qa.scores(ones)["silent"] == 1.0


def test_what_was_said_before_in_the_span_counts_with_what_is_said_later() -> None:
    ones = [watched((10.0, "it is a red"), (15.0, "car"), turns=[TURN])]
    # One point from the beginning; from 12.5 s on, as it counts, two: the words stand together.
    assert proactive_video_qa.scores(ones)["all"] == pytest.approx((2.5 * 1 + 7.5 * 2) / 20)


def test_a_reply_that_is_repeated_is_not_judged_again() -> None:
    asked: list[str] = []

    def judge(said: str, truth: str) -> int:
        asked.append(said)
        return 1

    ones = [watched((11.0, "a car"), (12.0, "a car"), (13.0, "a red one"), turns=[TURN])]
    proactive_video_qa.scores(ones, judge=judge)
    assert asked == ["a car", "a car a red one"]


def test_the_score_is_the_mean_of_all_true_answers() -> None:
    missed = {"content": "a dog", "start_s": 20.0, "end_s": 30.0, "shown_until_s": 30.0}
    ones = [
        watched((10.0, "a red car"), turns=[TURN, missed]),  # 1 and 0.25
        watched((10.0, "a red car"), turns=[TURN]),  # 1
    ]
    assert proactive_video_qa.scores(ones)["all"] == pytest.approx((1 + 0.25 + 1) / 3)


def test_another_judge_may_give_the_points() -> None:
    ones = [watched((10.0, "an automobile"), turns=[TURN])]
    assert proactive_video_qa.scores(ones, judge=lambda said, truth: 2)["all"] == 1.0


@pytest.mark.parametrize(
    ("said", "ratio"),
    [((), 0.0), (("a", "b"), 0.0), (("A  cat", "a cat", "a dog"), 1 / 3), (("a",) * 4, 0.75)],
)
def test_replies_that_only_repeat_are_a_share(said: tuple[str, ...], ratio: float) -> None:
    assert duplicate_ratio([Pushed(0.0, text) for text in said]) == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("pushed", "in_time", "right"),
    [
        ([(8.0, "a goal!")], 1, 1),  # as early as counts
        ([(7.9, "a goal!")], 0, 0),
        ([(12.0, "a goal!")], 1, 1),  # as late as counts
        ([(12.1, "a goal!")], 0, 0),
        ([(10.0, "a corner")], 1, 0),
        ([(5.0, "a goal!"), (10.0, "a goal!")], 0, 0),  # cried wolf
        ([(10.0, "a corner"), (10.5, "a goal!")], 1, 0),  # only the first counts
        ([], 0, 0),
    ],
)
def test_the_first_alert_has_to_be_near_and_right(
    pushed: list[tuple[float, str]], in_time: int, right: int
) -> None:
    found = streaming_bench.push_score([watched(*pushed, true_s=10.0)], strict=False)
    assert (found["in_time"], found["all"]) == (in_time, right)
    assert found["never"] == (not pushed)


def test_a_substring_is_right_for_the_official_score_and_wrong_for_the_strict_one() -> None:
    ones = [watched((10.0, "the goalkeeper"), true_s=10.0)]
    assert streaming_bench.push_score(ones, strict=False)["all"] == 1
    assert streaming_bench.push_score(ones, strict=True)["all"] == 0


def test_polls_and_alerts_of_one_item_do_not_count_for_each_other() -> None:
    poll = VideoProbe(
        key="p", at_s=10.0, text="?", form=ReplyForm.YES_NO, leaks=True,
        more={"item": "1", "true_s": 10.0},
    )  # fmt: skip
    ones = [Answered(probe=poll, reply="No"), watched((10.0, "goal"), item="1", true_s=10.0)]
    assert streaming_bench.proactive_score(ones) == {"in_time": 0, "all": 0}
    assert streaming_bench.push_score(ones, strict=True)["all"] == 1


def test_a_question_that_names_the_expected_output_is_counted_as_telling_it() -> None:
    item = {
        "video_path": "v",
        "questions": [{
            "question": 'When the ball is in, output "GOAL".', "time_stamp": "00:00:07",
            "ground_truth_time_stamp": "00:00:08", "ground_truth_output": "GOAL",
        }],
    }  # fmt: skip
    (task,) = streaming_bench.polls([item])
    (push,) = (probe for probe in task.probes if probe.form is ReplyForm.PUSHED)
    assert push.leaks
    assert (push.from_s, push.at_s) == (7.0, 12.0)
