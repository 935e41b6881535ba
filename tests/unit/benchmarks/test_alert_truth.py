"""How alerts are held against the drawn world's truth, and the published scores in closed form."""

import random

import pytest

from onlooker.benchmarks.alert_truth import Shown, Standing, mark, pauc, right_in_time

TIMES = [float(index) for index in range(20)]


def standing(*events: int, ambiguous: tuple[int, ...] = ()) -> Standing:
    return Standing("sign", "", "", {i: i - 0.5 for i in events}, frozenset(ambiguous))


def test_each_event_takes_one_alert_of_its_frame_or_the_next() -> None:
    alerts = [(3, 3.2), (4, 4.2), (8, 8.1), (12, 12.1)]
    marks = mark(standing(3, 7, 15), alerts, TIMES)
    assert (marks.hits, marks.misses, marks.false) == (2, 1, 2)
    assert marks.latency_s == pytest.approx([0.7, 1.6])
    assert marks.delays_s == [pytest.approx(0.2), pytest.approx(1.1), None]
    assert (marks.recall, marks.precision) == (2 / 3, 0.5)


def test_what_is_a_matter_of_words_counts_neither_way() -> None:
    marks = mark(standing(3, ambiguous=(9, 10)), [(3, 3.0), (9, 9.0)], TIMES)
    assert (marks.hits, marks.false) == (1, 0)


@pytest.mark.parametrize(
    ("delay_s", "score"),
    [
        (0.0, 1.0),  # at once
        (5.0, 0.625),  # at the very end, as if in the middle: half a quarter, and half of all
        (2.5, 0.8125),
        (None, 0.25),  # never: the level of silence
        (6.0, 0.25),
    ],
)
def test_pauc_in_closed_form(delay_s: float | None, score: float) -> None:
    assert pauc(delay_s) == pytest.approx(score)


@pytest.mark.parametrize(
    ("spoke", "right"), [([10], True), ([8], True), ([7], False), ([12], True), ([13], False),
                         ([15], False), ([], False), ([4, 10], True)],
)  # fmt: skip
def test_the_first_yes_since_it_was_asked_counts(spoke: list[int], right: bool) -> None:
    assert right_in_time(10, spoke, asked=5) is right


def test_the_truth_of_a_world_is_what_its_frames_show() -> None:
    shown = Shown(1_000_003, num_frames=60, start_s=10.0)
    watches = shown.watches(random.Random(1))
    assert [watch.sort for watch in watches][-2:] == ["sign", "cut"]
    for watch in watches:
        for index, event_s in watch.events.items():
            assert shown.times[index] - 1.0 <= event_s <= shown.times[index]
    changed, quiet = shown.comments()
    assert changed
    assert quiet
    assert not changed & quiet
