"""What the scorers of the field make of replies, on cases that can be counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.benchmarks.adapters import ovo_bench, stream_eqa, streaming_bench
from onlooker.benchmarks.adapters.asked import Answered, ReplyForm, VideoProbe
from onlooker.benchmarks.adapters.benchmark import BENCHMARKS
from onlooker.benchmarks.adapters.conversations import held_score
from onlooker.benchmarks.adapters.own_items import ITEMS
from onlooker.benchmarks.adapters.reply_forms import bare
from onlooker.benchmarks.adapters.times import seconds_of
from onlooker.core.errors import InvalidRequest


def answered(reply: str, truth: object, group: str = "EPM", **more: object) -> Answered:
    form = more.pop("form", ReplyForm.LETTER)
    at_s = float(str(more.pop("at_s", 1.0)))
    leaks = bool(more.pop("leaks", False))
    probe = VideoProbe(
        key=f"{group}/{reply}/{at_s}",
        at_s=at_s,
        text="?",
        form=ReplyForm(str(form)),
        truth=truth,
        group=group,
        leaks=leaks,
        more=more,
    )
    return Answered(probe=probe, reply=reply)


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"), ("B.", "B"), ("(C) the blue one", "C"), ("Answer: B", "B"),
        ("The answer is (D).", "D"), ("A blue ball", "A"), ("", ""), ("It is blue.", ""),
        ("Z", ""), ("option c", "C"),
    ],
)  # fmt: skip
def test_a_reply_comes_down_to_its_letter(reply: str, letter: str) -> None:
    assert bare(reply, ReplyForm.LETTER, num_options=4) == letter


@pytest.mark.parametrize(
    ("reply", "form", "expected"),
    [
        ("Yes, it is.", ReplyForm.YES_NO, "Yes"), ("no", ReplyForm.YES_NO, "No"),
        ("I know nothing", ReplyForm.YES_NO, ""), ("3 times", ReplyForm.NUMBER, "3"),
        ("Three times.", ReplyForm.NUMBER, "3"), ("often", ReplyForm.NUMBER, ""),
        ("  so it is ", ReplyForm.OPEN, "so it is"),
    ],
)  # fmt: skip
def test_a_reply_comes_down_to_a_word_or_number(reply: str, form: ReplyForm, expected: str) -> None:
    assert bare(reply, form) == expected


@given(st.text(max_size=40), st.sampled_from(list(ReplyForm)))
def test_whatever_is_replied_what_is_left_has_its_form(reply: str, form: ReplyForm) -> None:
    left = bare(reply, form, num_options=4)
    match form:
        case ReplyForm.LETTER:
            assert left in ("", "A", "B", "C", "D")
        case ReplyForm.YES_NO:
            assert left in ("", "Yes", "No")
        case ReplyForm.NUMBER:
            assert left == "" or left.isdecimal()
        case ReplyForm.OPEN | ReplyForm.PUSHED:
            assert left == reply.strip()


@pytest.mark.parametrize(
    ("text", "seconds"), [("01:02:03", 3723), ("02:03", 123), ("3.5", 3.5), (7, 7), ("[00:07", 7)]
)
def test_times_are_read_as_benchmarks_write_them(text: str | float, seconds: float) -> None:
    assert seconds_of(text) == seconds


def test_a_text_that_is_no_time_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no time"):
        seconds_of("soon")


def test_the_official_score_of_ovo_bench_takes_substrings_and_the_strict_one_does_not() -> None:
    loose = [answered("Answer: B", "A")]  # "Answer" begins with an A
    assert ovo_bench.scores(loose, strict=False)["all"] == 1.0
    assert ovo_bench.scores(loose, strict=True)["all"] == 0.0


def test_ovo_bench_is_the_mean_of_groups_that_are_means_of_tasks() -> None:
    ones = [
        answered("A", "A", "EPM"), answered("B", "A", "EPM"),  # .5
        answered("A", "A", "ASI"),  # 1, so looking back is .75
        answered("B", "A", "OJR"),  # 0
        answered("12", 12, "REC", form="number"),  # 1
    ]  # fmt: skip
    found = ovo_bench.scores(ones, strict=True)
    assert (found["backward"], found["realtime"], found["forward"]) == (0.75, 0.0, 1.0)
    assert found["all"] == pytest.approx(1.75 / 3)


def test_streaming_bench_looks_at_the_first_character() -> None:
    ones = [answered("B", "B", "x"), answered("A", "B", "x"), answered("", "B", "y")]
    assert streaming_bench.choice_score(ones) == {"x": 0.5, "y": 0.0, "all": pytest.approx(1 / 3)}


def _poll(reply: str, at_s: float, item: str = "1") -> Answered:
    return answered(reply, None, "p", form="yes_no", at_s=at_s, leaks=True, item=item, true_s=10.0)


def _said(reply: str, at_s: float, item: str = "1") -> Answered:
    return answered(reply, "goal", "p", form="open", at_s=at_s, item=item, true_s=10.0)


@pytest.mark.parametrize(
    ("yes_at_s", "said", "in_time", "right"),
    [
        (8, "a goal!", 1, 1),  # as early as counts
        (7, "a goal!", 0, 0),
        (12, "a goal!", 1, 1),  # as late as counts
        (11, "a corner", 1, 0),
        (13, "a goal!", 0, 0),
        (99, "a goal!", 0, 0),  # never
    ],
)
def test_a_first_yes_within_two_seconds_and_the_output_in_the_reply_are_right(
    yes_at_s: int, said: str, in_time: int, right: int
) -> None:
    ones = [_poll("Yes" if at_s >= yes_at_s else "No", at_s) for at_s in range(6, 15)]
    ones += [_said(said, at_s) for at_s in range(6, 15)]
    assert streaming_bench.proactive_score(ones) == {"in_time": in_time, "all": right}


def test_what_is_said_after_the_first_yes_does_not_count() -> None:
    ones = [_poll("Yes", 5), _poll("Yes", 10), _said("a goal", 10), _said("nothing", 5)]
    assert streaming_bench.proactive_score(ones) == {"in_time": 0, "all": 0}


def test_words_of_the_truth_have_to_stand_together() -> None:
    ones = [answered("It is a red, round ball.", "red round"), answered("redround", "red round")]
    assert held_score(ones) == {"held": 0.5}


def test_earlier_questions_come_with_their_true_answers_but_never_the_own() -> None:
    tasks = list(streaming_bench.sequential(ITEMS["streamingbench-sqa"]))
    first, second = (task.probes[0] for task in tasks)
    assert "Answer: A" not in first.text
    assert "Answer: A" in second.text
    assert "Answer: B" not in second.text
    assert (first.leaks, second.leaks) == (False, True)


def test_only_the_last_minute_before_a_question_is_shown() -> None:
    item = {"id": 1, "task": "t", "video": "v", "realtime": 100, "gt": 0,
            "question": "?", "options": ["a", "b", "c", "d"]}  # fmt: skip
    (task,) = stream_eqa.tasks([item])
    assert (task.start_s, task.probes[0].at_s) == (36.0, 100.0)


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_no_question_tells_what_its_scorer_expects_but_where_the_benchmark_says_so(
    name: str,
) -> None:
    for task in BENCHMARKS[name].read(ITEMS[name]):
        for probe in task.probes:
            assert probe.leaks or f"Answer: {probe.truth}" not in probe.text
            if probe.form is ReplyForm.OPEN:
                assert str(probe.truth) not in probe.text
            if probe.form is ReplyForm.PUSHED:
                truths = probe.truth if isinstance(probe.truth, tuple) else (str(probe.truth),)
                told = str(dict(probe.watch))
                assert probe.leaks or not any(truth in told for truth in truths)


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_keys_name_one_probe_each(name: str) -> None:
    keys = [probe.key for task in BENCHMARKS[name].read(ITEMS[name]) for probe in task.probes]
    assert len(set(keys)) == len(keys) > 0
