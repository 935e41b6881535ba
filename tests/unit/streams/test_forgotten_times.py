"""Which times were deleted, and when the times of a stream were by the wall."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.streams.forgotten_times import MAX_SPANS, ForgottenTimes
from onlooker.streams.wall_times import MAX_ANCHORS, WallTimes

TIME = st.integers(0, 40).map(float)
SPAN = st.tuples(TIME, TIME).map(lambda pair: (min(pair), max(pair)))


@given(st.lists(SPAN, max_size=8), SPAN, st.none() | TIME)
def test_a_span_is_touched_where_any_moment_of_it_was_deleted(
    deleted: list[tuple[float, float]], asked: tuple[float, float], aged_s: float | None
) -> None:
    times = ForgottenTimes()
    for start_s, end_s in deleted:
        times.add(start_s, end_s)
    if aged_s is not None:
        times.age(aged_s)
    aged_until_s = -math.inf if aged_s is None else aged_s
    moments = [half / 2 for half in range(round(asked[0] * 2), round(asked[1] * 2) + 1)]
    gone = [
        any(start <= at <= end for start, end in deleted) or at < aged_until_s for at in moments
    ]
    assert times.touch(*asked) is any(gone)
    if all(gone):
        assert times.cover(*asked)
    if not any(gone):
        assert times.within(*asked) in ((), ((asked[0], asked[0]),))


@pytest.mark.parametrize(
    ("span", "is_covered"),
    [((5.0, 6.0), True), ((4.6, 8.4), True), ((3.0, 8.0), False), ((5.0, 12.0), False),
     ((4.9, 4.9), False), ((6.0, 6.0), True)],
)  # fmt: skip
def test_a_named_time_may_stick_out_a_little(span: tuple[float, float], is_covered: bool) -> None:
    times = ForgottenTimes(spans=[(5.0, 8.0)])
    assert times.cover(*span) is is_covered


def test_the_spans_that_are_told_apart_are_bounded() -> None:
    times = ForgottenTimes()
    for index in range(2 * MAX_SPANS):
        times.add(2.0 * index, 2.0 * index + 1)
    assert len(times.spans) == MAX_SPANS
    assert times.touch(4.0 * MAX_SPANS - 2, 4.0 * MAX_SPANS - 2)


def test_a_live_stream_s_times_go_by_the_wall_between_its_breaks() -> None:
    wall = WallTimes(is_live=True)
    assert wall.until(1e9) is None
    assert [wall.note(float(s), 1000.0 + s) for s in range(60)] == [True] + [False] * 59
    assert wall.note(60.0, 5000.0), "the camera was away for more than an hour"
    assert wall.until(999.0) is None
    assert wall.until(1030.0) == 30.0
    assert wall.until(3000.0) == 60.0
    assert wall.until(5010.0) == 70.0
    assert not wall.note(20.0, 6000.0), "a clip that comes late says nothing"


def test_a_recording_ages_from_when_it_was_taken_in() -> None:
    wall = WallTimes(is_live=False)
    for second in range(0, 3600, 10):  # an hour of it in a minute
        wall.note(float(second), 1000.0 + second / 60)
    assert wall.until(999.0) is None
    assert wall.until(1029.0) == 0.0
    assert wall.until(1031.0) == 1800.0
    assert wall.until(2000.0) == math.inf


def test_the_pairs_of_times_are_bounded() -> None:
    wall = WallTimes(is_live=True)
    for index in range(2 * MAX_ANCHORS):
        wall.note(float(index), 100.0 * index)
    assert len(wall.anchors) == MAX_ANCHORS
