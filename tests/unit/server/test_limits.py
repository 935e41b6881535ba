import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import Overloaded
from onlooker.server.limits import Places, TokenBucket


def test_places_are_given_back_however_the_block_ends() -> None:
    places = Places(1, what="seats")
    with pytest.raises(KeyError), places.take():
        raise KeyError
    with places.take(), pytest.raises(Overloaded, match="1 seats"), places.take():
        pass
    assert places.taken == 0


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
