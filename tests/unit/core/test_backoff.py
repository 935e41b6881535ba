import pytest

from onlooker.core.backoff import Backoff


def test_waits_grow_by_the_factor_up_to_the_limit() -> None:
    backoff = Backoff(0.5, 5.0)
    assert [backoff.wait_s(num) for num in range(1, 7)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    steep = Backoff(1.0, 50.0, factor=3.0)
    assert [steep.wait_s(num) for num in range(1, 6)] == [1.0, 3.0, 9.0, 27.0, 50.0]


def test_a_million_failures_wait_no_longer_than_the_limit() -> None:
    assert Backoff(0.5, 30.0).wait_s(1_000_000) == pytest.approx(30.0)
