import random

import pytest

from onlooker.engine.perception.sampler import FloodLimit, RateMeter, Sampler


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


def test_a_flood_passes_one_burst_and_then_the_rate() -> None:
    limit = FloodLimit(60)
    assert sum(limit.allows(index / 10_000) for index in range(10_000)) == pytest.approx(120, abs=1)


def test_a_rate_meter_forgets_a_source_that_went_away() -> None:
    meter = RateMeter()
    for index in range(100):
        meter.note(index / 10)
    assert meter.rate(10.0) == pytest.approx(10, rel=0.1)
    assert meter.rate(60.0) < 1
