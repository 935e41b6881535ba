"""What the gateway's thread spends is learned, and told apart."""

import pytest

from onlooker.scheduler.gateway_meter import (
    CLIP_S,
    LOOKED_S,
    OFFERED_S,
    PLAUSIBLE_FACTOR,
    GatewayMeter,
    GatewayWork,
)

SECOND = GatewayWork(offered=100, looked=100, clips=50, questions=0)
SECOND_S = 100 * OFFERED_S + 100 * LOOKED_S + 50 * CLIP_S


def test_a_machine_that_is_three_times_slower_is_found_to_be() -> None:
    meter = GatewayMeter()
    for _ in range(60):
        meter.note(SECOND, 3 * SECOND_S, 1.0)
    assert meter.factor == pytest.approx(3, rel=0.1)
    assert meter.load_ratio == pytest.approx(3 * SECOND_S, rel=0.01)
    assert meter.rest == 0


def test_questions_are_what_is_left_beside_frames() -> None:
    meter = GatewayMeter()
    for _ in range(60):
        meter.note(GatewayWork(questions=10), 0.12, 1.0)
    assert meter.rest == pytest.approx(0.12, rel=0.1)


def test_nothing_done_teaches_nothing_and_costs_stay_in_bounds() -> None:
    meter = GatewayMeter()
    meter.note(GatewayWork(), 0.5, 1.0)
    assert meter.factor == 1.0
    for _ in range(100):
        meter.note(GatewayWork(clips=1), 0.9, 1.0)
    assert 4 < meter.factor <= PLAUSIBLE_FACTOR
    meter.note(SECOND, 0.1, 0.0)  # no time has passed
    assert meter.load_ratio <= 1.0


def test_a_thread_that_is_kept_busy_by_others_is_not_the_streams_load() -> None:
    meter = GatewayMeter()
    for _ in range(60):
        meter.note(GatewayWork(offered=4, looked=4, clips=2), 0.95, 1.0)
    assert meter.load_ratio == pytest.approx(0.95, rel=0.01)
    assert meter.streams_ratio < 0.05
