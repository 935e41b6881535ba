from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from onlooker.streams.webrtc.media_time import MOST_APART_S, MediaTime


def placed(*frames: tuple[float, float], first: int = 0, rate: float = 90_000) -> list[float]:
    """The stream times of frames, given as (time of capture, time of arrival)."""
    time = MediaTime()
    return [
        time.place((first + round(captured_s * rate)) & 0xFFFFFFFF, arrived_s)
        for captured_s, arrived_s in frames
    ]


def test_frames_are_as_far_apart_as_they_were_captured_however_they_arrive() -> None:
    times = placed((0.0, 5.0), (1.0, 6.3), (2.0, 7.05), (3.0, 8.4))
    assert [round(b - a, 1) for a, b in pairwise(times)] == [1.0, 1.0, 1.0]


def test_the_frame_that_was_held_up_least_says_when() -> None:
    assert placed((0.0, 5.9), (1.0, 6.0), (2.0, 7.0))[-1] == 7.0


def test_stamps_that_come_round_go_on() -> None:
    times = placed((0.0, 0.0), (1.0, 1.0), (2.0, 2.0), first=(1 << 32) - 100_000)
    assert times == [0.0, 1.0, 2.0]


def test_stamps_that_begin_again_follow_the_arrival() -> None:
    assert placed((100.0, 5.0), (101.0, 6.0), (0.0, 7.0), (1.0, 8.0)) == [5.0, 6.0, 7.0, 8.0]


def test_a_clock_that_runs_wrong_never_leads_far_from_the_arrival() -> None:
    for rate in (45_000, 89_900, 90_100, 180_000):
        frames = [(n / 10, n / 10) for n in range(3000)]
        times = placed(*frames, rate=rate)
        assert all(
            abs(t - arrived) <= MOST_APART_S + 0.2
            for t, (_, arrived) in zip(times, frames, strict=True)
        )


@given(st.lists(st.tuples(st.integers(0, (1 << 32) - 1), st.floats(0, 10)), max_size=30))
def test_time_never_stands_still_nor_runs_back(steps: list[tuple[int, float]]) -> None:
    time, arrived_s, last_s = MediaTime(), 0.0, -1.0
    for stamp, passed_s in steps:
        arrived_s += passed_s
        now_s = time.place(stamp, arrived_s)
        assert now_s > last_s
        assert now_s >= 0
        last_s = now_s
