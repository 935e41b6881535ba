"""Servers that cannot be connected to are not waited for by every call."""

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.metrics import Metrics
from onlooker.server.fleet.reach import ENOUGH_MISSES, Reach, Site, Unreached

THERE = Site("there", 8000)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def reach(clock: ManualClock) -> Reach:
    return Reach(limit_s=1.0, hold_s=2.0, clock=clock, metrics=Metrics())


def miss(reach: Reach, error: Exception | None = None) -> None:
    with pytest.raises(Unreached), reach.attempt(THERE):
        raise error or TimeoutError


def is_tried(reach: Reach) -> bool:
    try:
        with reach.attempt(THERE):
            return True
    except Unreached:
        return False


def test_after_a_few_misses_nobody_tries_for_a_while(reach: Reach, clock: ManualClock) -> None:
    for _ in range(ENOUGH_MISSES):
        miss(reach)
    assert not is_tried(reach)
    clock.advance(2.0)
    assert is_tried(reach)


def test_one_miss_may_be_chance(reach: Reach) -> None:
    miss(reach)
    assert is_tried(reach)


def test_while_one_call_finds_out_others_do_not_wait(reach: Reach, clock: ManualClock) -> None:
    for _ in range(ENOUGH_MISSES):
        miss(reach)
    clock.advance(2.0)
    with reach.attempt(THERE):
        assert not is_tried(reach)
    assert is_tried(reach)


def test_who_finds_out_in_vain_holds_others_off_again(reach: Reach, clock: ManualClock) -> None:
    for _ in range(ENOUGH_MISSES):
        miss(reach)
    clock.advance(2.0)
    miss(reach, OSError("no route to host"))
    assert not is_tried(reach)


def test_who_refuses_or_answers_is_there(reach: Reach) -> None:
    miss(reach)
    with pytest.raises(ConnectionRefusedError), reach.attempt(THERE):
        raise ConnectionRefusedError
    miss(reach)
    assert is_tried(reach)
    miss(reach)
    assert is_tried(reach)


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("http://10.0.0.7:8000", Site("10.0.0.7", 8000)),
        ("https://a.example", Site("a.example", 443, is_secure=True)),
        ("http://[::1]/path", Site("::1", 80)),
    ],
)
def test_where_a_server_takes_connections(url: str, site: Site) -> None:
    assert Site.of(url) == site
