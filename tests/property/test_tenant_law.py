"""The laws by which tenants are limited: shares of a rate, and so many in any minute at most."""

import math

from hypothesis import example, given
from hypothesis import strategies as st

from onlooker.scheduler.fleet_share import LEAST_SHARE, fleet_share
from onlooker.scheduler.rate_window import RateWindow

SPAN_S = 60.0

rates = st.floats(0.01, 1e5)
demands = st.lists(st.floats(0, 1e6), min_size=1, max_size=20)


def shares(rate: float, offered: list[float]) -> list[float]:
    """What each server takes, where each knows what all were offered."""
    return [
        fleet_share(rate, own, offered[:index] + offered[index + 1 :])
        for index, own in enumerate(offered)
    ]


@given(rates, demands)
def test_shares_are_the_rate_and_nobody_has_none(rate: float, offered: list[float]) -> None:
    found = shares(rate, offered)
    assert math.isclose(sum(found), rate, rel_tol=1e-6)
    assert min(found) > 0


@given(rates, demands, st.floats(0, 1))
def test_what_fits_is_taken_wherever_it_arrives(
    rate: float, offered: list[float], filled: float
) -> None:
    factor = filled * rate / max(sum(offered), 1e-9)
    fitting = [one * factor for one in offered]
    for own, share in zip(fitting, shares(rate, fitting), strict=True):
        assert share >= own / (1 + LEAST_SHARE) - 1e-9


@given(rates, demands, st.integers(0, 19), st.floats(0, 1e6))
def test_more_demand_is_never_a_smaller_share(
    rate: float, offered: list[float], index: int, more: float
) -> None:
    index %= len(offered)
    grown = [*offered]
    grown[index] += more
    before, after = shares(rate, offered)[index], shares(rate, grown)[index]
    assert after >= before or math.isclose(after, before)


@given(
    st.integers(1, 10),
    st.lists(st.floats(0, 50, allow_nan=False), max_size=80),
)
@example(limit=1, gaps=[1.1289893324849523, 1.1289893324849523, 35.0, 31.431566257440874, 0.0])
def test_no_span_has_more_than_the_limit_and_nobody_is_refused_too_much(
    limit: int, gaps: list[float]
) -> None:
    window, now_s, taken = RateWindow(SPAN_S), 0.0, list[float]()
    for gap in gaps:
        now_s += gap
        recent = [at_s for at_s in taken if at_s + SPAN_S > now_s]
        wait_s = window.wait_s(limit, now_s)
        if wait_s == 0:
            window.note(now_s)
            taken.append(now_s)
            recent.append(now_s)
        else:
            assert len(recent) == limit
            assert 0 < wait_s <= SPAN_S
        assert len(recent) <= limit


@given(st.integers(1, 5), st.lists(st.floats(0, 50), min_size=5, max_size=40))
def test_who_waits_as_long_as_was_said_is_let_in(limit: int, gaps: list[float]) -> None:
    window, now_s = RateWindow(SPAN_S), 0.0
    for gap in gaps:
        now_s += gap
        now_s += window.wait_s(limit, now_s)
        assert window.wait_s(limit, now_s + 1e-6) == 0
        now_s += 1e-6
        window.note(now_s)


def test_a_lower_limit_counts_what_was_let_in_before() -> None:
    window = RateWindow(SPAN_S)
    for at_s in (0.0, 10.0, 20.0):
        window.note(at_s)
    assert window.wait_s(1, 30.0) == 50.0
    assert window.wait_s(3, 30.0) == 30.0
    assert window.wait_s(4, 30.0) == 0.0
