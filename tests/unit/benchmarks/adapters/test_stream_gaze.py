"""How StreamGaze's questions are cut and scored, on cases that can be counted by hand."""

import pytest

from onlooker.benchmarks.adapters import stream_gaze
from onlooker.benchmarks.adapters.asked import Answered, Pushed, ReplyForm, VideoProbe
from onlooker.benchmarks.adapters.own_items import ITEMS, VIDEO
from onlooker.benchmarks.adapters.reply_forms import bare


def replied(raw: str, truth: str, form: ReplyForm) -> Answered:
    probe = VideoProbe(key="k", at_s=1.0, text="?", form=form, truth=truth, group="t")
    return Answered(probe=probe, reply=bare(raw, form, num_options=4), raw=raw)


@pytest.mark.parametrize(
    ("raw", "truth", "official", "strict"),
    [
        ("B", "B", 1, 1), ("Answer: B", "B", 1, 1), ("", "B", 0, 0), ("blue", "B", 0, 0),
        ("It is a cup.", "A", 1, 0),  # "a" is read as a letter
        ("It is a cup, so B.", "B", 0, 0),
    ],
)  # fmt: skip
def test_a_letter_anywhere_counts_officially(
    raw: str, truth: str, official: int, strict: int
) -> None:
    ones = [replied(raw, truth, ReplyForm.LETTER)]
    assert stream_gaze.scores(ones, strict=False)["all"] == official
    assert stream_gaze.scores(ones, strict=True)["all"] == strict


@pytest.mark.parametrize(
    ("raw", "truth", "official", "strict"),
    [
        ("Yes.", "Yes", 1, 1), ("no", "No", 1, 1), ("No, yes would be wrong.", "Yes", 1, 0),
        ("I know nothing", "No", 1, 0), ("eyes", "Yes", 1, 0), ("", "No", 0, 0),
    ],
)  # fmt: skip
def test_yes_and_no_as_substrings_count_officially(
    raw: str, truth: str, official: int, strict: int
) -> None:
    ones = [replied(raw, truth, ReplyForm.YES_NO)]
    assert stream_gaze.scores(ones, strict=False)["all"] == official
    assert stream_gaze.scores(ones, strict=True)["all"] == strict


def test_the_present_is_a_minute_and_the_past_all() -> None:
    question = {"question": "?", "time_stamp": "01:40", "answer": "A", "options": ["x", "y"]}
    entry = {"video_path": "v", "questions": [question]}
    (past,) = stream_gaze.choices([entry])
    (present,) = stream_gaze.choices([entry], context_s=stream_gaze.PRESENT_S)
    assert (past.start_s, present.start_s) == (0.0, 40.0)
    assert present.probes[0].at_s == 100.0


def test_each_moment_of_an_alert_is_asked_on_all_until_then_beside_one_watch() -> None:
    (task,) = stream_gaze.alerts(ITEMS["streamgaze-proactive"])
    before, after, watch = task.probes
    assert (task.start_s, before.at_s, after.at_s) == (0.0, 8.0, 12.0)
    assert (before.truth, after.truth) == ("No", "Yes")
    assert (watch.form, watch.from_s, watch.at_s) == (ReplyForm.PUSHED, 2.0, 12.0)


def test_neither_moments_nor_first_appearance_are_told() -> None:
    (task,) = stream_gaze.alerts(ITEMS["streamgaze-proactive"])
    for probe in task.probes:
        told = probe.text + str(dict(probe.watch))
        assert "blue" not in told
        assert "10" not in told


def test_videos_are_looked_for_by_their_names() -> None:
    (task, _) = stream_gaze.choices(ITEMS["streamgaze-past"])
    assert task.video == VIDEO


def test_an_alert_without_moments_is_passed_over_as_the_benchmark_does() -> None:
    entry = {"video_path": "v", "questions": [{"question": "?", "time_stamp": "1", "test_info": [],
             "first_appearance": "2", "target_object": "x"}]}  # fmt: skip
    assert list(stream_gaze.alerts([entry])) == []


@pytest.mark.parametrize(
    ("times", "early", "late", "right"),
    [
        ([], 0, 1, 0), ([10.0], 0, 0, 1), ([8.0], 0, 0, 1), ([12.0], 0, 0, 1),
        ([7.9, 10.0], 1, 0, 0), ([12.1], 0, 1, 0),
    ],
)  # fmt: skip
def test_the_first_alert_is_early_late_or_right(
    times: list[float], early: int, late: int, right: int
) -> None:
    probe = VideoProbe(key="k", at_s=20.0, text="?", form=ReplyForm.PUSHED, more={"true_s": 10.0})
    one = Answered(probe=probe, reply="", pushed=tuple(Pushed(at_s, "now") for at_s in times))
    assert stream_gaze.push_score([one]) == {"early": early, "late": late, "all": right}
