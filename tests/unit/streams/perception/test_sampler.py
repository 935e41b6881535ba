import random

import pytest

from onlooker.streams.perception.sampler import RateMeter, Sampler


def picked(times: list[float], interval_s: float = 0.5) -> list[float]:
    sampler = Sampler(interval_s)
    return [time_s for time_s in times if sampler.pick(time_s)]


@pytest.mark.parametrize("fps", [2, 3, 5, 10, 24, 30, 60])
def test_any_faster_source_is_thinned_to_two_frames_a_second(fps: int) -> None:
    times = picked([index / fps for index in range(fps * 60)])
    assert 119 <= len(times) <= 121


def test_a_source_at_the_wanted_rate_loses_nothing_to_jitter() -> None:
    generator = random.Random(1)
    times = [index * 0.5 + generator.uniform(-0.1, 0.1) for index in range(200)]
    assert picked(times) == times


def test_a_slow_source_is_taken_whole() -> None:
    times = [0.0, 3.0, 4.0, 9.0]
    assert picked(times) == times


def test_frames_after_a_pause_do_not_come_in_a_burst() -> None:
    after = picked([0.0, 0.5] + [60 + index / 30 for index in range(30)])
    assert len([time_s for time_s in after if time_s >= 60]) <= 3


@pytest.mark.parametrize("fps", [1, 2, 10])
def test_in_bursts_frames_that_follow_each_other_stay_together(fps: int) -> None:
    sampler = Sampler(2.0, burst=2)
    times = [index / fps for index in range(fps * 400)]
    found = [time_s for time_s in times if sampler.pick(time_s)]
    assert 190 <= len(found) <= 210
    pairs = zip(found[::2], found[1::2], strict=False)
    assert all(second - first == pytest.approx(1 / fps) for first, second in pairs)


def test_after_a_pause_bursts_are_not_made_up_for() -> None:
    sampler = Sampler(2.0, burst=2)
    times = [0.0, 1.0, *(7.5 + index / 10 for index in range(20))]
    assert [time_s for time_s in times if sampler.pick(time_s)] == [0.0, 1.0, 7.5, 7.6]


@pytest.mark.parametrize("burst", [1, 2])
def test_samplers_that_begin_at_once_pick_in_turns_as_their_phases_say(burst: int) -> None:
    samplers = [Sampler(4.0, burst=burst, phase=number / 80) for number in range(80)]
    picks = [sum(s.pick(float(time_s)) for s in samplers) for time_s in range(100, 180)]
    assert sum(picks) == pytest.approx(80 * 80 / 4, rel=0.05)
    assert max(picks) <= 80 / 4 + 2


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.75])
def test_with_a_phase_it_does_not_matter_when_a_sampler_began(phase: float) -> None:
    early, late = Sampler(8.0, burst=2, phase=phase), Sampler(8.0, burst=2, phase=phase)
    times = [float(time_s) for time_s in range(300)]
    found = [time_s for time_s in times if early.pick(time_s) and time_s >= 150]
    again = [time_s for time_s in times[131:] if late.pick(time_s) and time_s >= 150]
    assert found == again


def test_a_rate_is_settled_when_a_window_has_been_counted() -> None:
    meter = RateMeter()
    for index in range(5):
        meter.note(index / 2)
        assert bool(meter.settled_rate(index / 2)) is (index == 4)


def test_a_rate_meter_forgets_a_source_that_went_away() -> None:
    meter = RateMeter()
    for index in range(100):
        meter.note(index / 10)
    assert meter.rate(10.0) == pytest.approx(10, rel=0.1)
    assert meter.rate(60.0) < 1
