"""Whatever a source says of its time, stream time goes on."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.streams.perception.stream_time import GAP_S, MAX_LATE, Placed, StreamTime
from onlooker.streams.sources.live_time import MAX_JUMPS, LiveTime

HOUR_S = 3600.0


def placed(times: Iterable[float], *, late_s: float = 0.5, max_gap_s: float = 1800) -> list[Placed]:
    time = StreamTime(max_gap_s=max_gap_s)
    time.begin(0.0)
    return [time.place(time_s, late_s=late_s) for time_s in times]


def at(places: Iterable[Placed]) -> list[float]:
    return [place.at_s for place in places if place.at_s is not None]


def kinds(places: Iterable[Placed]) -> list[str]:
    return [place.jump.kind for place in places if place.jump is not None]


def tenths(first: int, last: int, *, off_s: float = 0.0) -> list[float]:
    return [off_s + index / 10 for index in range(first, last)]


# ---- recordings


@given(st.lists(st.floats(-1e6, 1e6), max_size=60))
def test_times_only_grow_and_nothing_is_lost_for_long(times: list[float]) -> None:
    places = placed(times)
    grown = at(places)
    assert all(after > before for before, after in pairwise(grown))
    late = "".join("l" if place.at_s is None else "." for place in places)
    assert "l" * (MAX_LATE + 1) not in late


@given(st.lists(st.floats(0.001, 1700), min_size=1, max_size=40), st.floats(-1e5, 1e5))
def test_a_recording_keeps_its_gaps_whatever_its_time_begins_at(
    steps: list[float], begin_s: float
) -> None:
    times = [begin_s]
    for step_s in steps:
        times.append(times[-1] + step_s)
    assert at(placed(times)) == pytest.approx([t - begin_s for t in times], abs=1e-6)


def test_a_hold_of_a_minute_is_kept_and_told_once() -> None:
    places = placed([*tenths(0, 50), *tenths(650, 700)])
    assert at(places) == pytest.approx([*tenths(0, 50), *tenths(650, 700)])
    assert kinds(places) == ["gap"]
    jump = places[50].jump
    assert jump is not None
    assert (jump.at_s, jump.by_s) == pytest.approx((65.0, 60.1))


def test_a_camera_that_sends_a_picture_a_minute_has_no_gaps() -> None:
    assert len(kinds(placed([60.0 * i for i in range(20)]))) <= 1


@pytest.mark.parametrize("off_s", [HOUR_S, 90 * HOUR_S, -3.0, -10.0, -HOUR_S])
def test_after_a_wrong_time_stream_time_is_as_if_it_had_not_been(off_s: float) -> None:
    times = [*tenths(100, 150), *tenths(150, 160, off_s=off_s), *tenths(160, 200)]
    places = placed(times)
    assert at(places) == pytest.approx(tenths(0, 100))
    assert kinds(places) == ["moved", "moved"]


def test_a_wrong_time_that_could_be_true_costs_a_gap_and_blinds_nobody() -> None:
    times = [*tenths(0, 50), *tenths(50, 51, off_s=600.0), *tenths(51, 100)]
    places = placed(times)
    assert len(at(places)) == 100
    assert kinds(places) == ["gap", "moved"]


def test_a_restart_at_zero_goes_on_behind_what_came_before() -> None:
    places = placed(tenths(0, 40) * 3)
    assert at(places) == pytest.approx(tenths(0, 120))
    assert kinds(places) == ["moved", "moved"]


def test_pictures_a_little_back_are_late_until_it_is_clear_that_the_clock_was_set() -> None:
    places = placed([*tenths(0, 40), 3.7, 3.8, *tenths(40, 50)], late_s=10.0)
    assert [place.at_s is None for place in places[38:43]] == [False, False, True, True, False]
    assert at(places) == pytest.approx(tenths(0, 50))
    places = placed([*tenths(0, 40), *tenths(0, 40)], late_s=10.0)
    assert [place.at_s for place in places].count(None) == MAX_LATE
    assert kinds(places) == ["moved"]


def test_a_time_that_stands_still_does_not_stop_stream_time() -> None:
    places = placed([5.0] * 100)
    assert len(at(places)) > 5


# ---- live sources


def live(arrivals: Iterable[tuple[float, float]], *, max_drift_s: float = 5.0) -> list[Placed]:
    """Places of (own time, clock time) of a source whose first picture is at 0."""
    time = LiveTime(begin_s=0.0, max_drift_s=max_drift_s)
    return [time.place(own_s, now_s=now_s) for own_s, now_s in arrivals]


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0.001, 30)), min_size=1, max_size=100),
    st.floats(0.1, 20),
)
def test_a_live_sources_time_only_grows_and_stays_near_the_clock(
    pictures: list[tuple[float, float]], max_drift_s: float
) -> None:
    now_s, arrivals = 100.0, []
    for own_s, step_s in pictures:
        arrivals.append((own_s, now_s))
        now_s += step_s
    places = at(live(arrivals, max_drift_s=max_drift_s))
    assert len(places) == len(arrivals)
    assert all(after > before for before, after in pairwise(places))
    for place_s, (_, now_s) in zip(places, arrivals, strict=True):
        assert abs(place_s - (now_s - 100.0)) <= 2 * max_drift_s + 0.001


@given(
    st.floats(-1e6, 1e6),
    st.lists(st.floats(0, 0.3), min_size=50, max_size=50),
    st.floats(0.9999, 1.0001),
)
def test_a_camera_in_step_is_followed_by_its_own_smooth_time(
    off_s: float, delays_s: list[float], speed: float
) -> None:
    now_s, arrivals = 0.0, []
    for index, delay_s in enumerate(delays_s):
        now_s = max(now_s, index / 10 + delay_s)
        arrivals.append((off_s + speed * index / 10, now_s))
    places = live(arrivals)
    assert at(places) == pytest.approx([speed * i / 10 for i in range(50)], abs=1e-5)
    assert not kinds(places)


@pytest.mark.parametrize("speed", [1 / 12, 0.5, 1.5, 25.0])
def test_a_clock_that_runs_off_is_not_followed_for_long(speed: float) -> None:
    places = live((speed * i / 2, i / 2) for i in range(240))
    assert kinds(places).count("arrival") == 1
    steps = [b - a for a, b in pairwise(at(places)[120:])]
    assert steps == pytest.approx([0.5] * len(steps))


@pytest.mark.parametrize("by_s", [HOUR_S, -HOUR_S, 2**32 / 90_000, -(2**33) / 90_000, -3.0])
def test_a_clock_that_is_set_or_wraps_is_followed_from_there(by_s: float) -> None:
    places = live((i / 10 + (by_s if i >= 50 else 0.0), i / 10) for i in range(100))
    assert at(places) == pytest.approx(tenths(0, 100))
    assert kinds(places) == ["moved"]
    assert places[50].jump is not None
    assert places[50].jump.by_s == pytest.approx(by_s)


def test_a_burst_after_a_pause_of_the_network_is_no_jump() -> None:
    arrivals = [(i / 10, i / 10 if not 50 <= i < 110 else 11.0) for i in range(200)]
    places = live(arrivals)
    assert at(places) == pytest.approx(tenths(0, 200))
    assert not kinds(places)


def test_a_clock_that_jumps_again_and_again_is_not_followed_any_more() -> None:
    places = live(((i * 7919) % 1000, i / 2) for i in range(100))
    assert kinds(places).count("moved") == MAX_JUMPS
    assert kinds(places)[-1] == "arrival"
    assert max(abs(at_s - i / 2) for i, at_s in enumerate(at(places))) <= GAP_S
