import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.token_bucket import TokenBucket


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    clock = ManualClock()
    bucket = TokenBucket(rate_per_s=10, burst=3, clock=clock)
    assert [bucket.try_take() for _ in range(4)] == [True, True, True, False]
    clock.advance(0.1)
    assert [bucket.try_take() for _ in range(2)] == [True, False]
    clock.advance(100)
    assert sum(bucket.try_take() for _ in range(10)) == 3


def test_a_bucket_says_how_long_to_wait() -> None:
    clock = ManualClock()
    bucket = TokenBucket(rate_per_s=10, burst=1, clock=clock)
    assert bucket.take() == 0
    assert bucket.take() == pytest.approx(0.1)
    assert bucket.take() == pytest.approx(0.2)
    clock.advance(0.2)
    assert bucket.take() == pytest.approx(0.1)


def test_a_flood_passes_one_burst_and_then_the_rate() -> None:
    clock = ManualClock()
    bucket = TokenBucket(rate_per_s=60, burst=60, clock=clock)
    num_passed = 0
    for _ in range(10_000):
        num_passed += bucket.try_take()
        clock.advance(1 / 10_000)
    assert num_passed == pytest.approx(120, abs=1)
