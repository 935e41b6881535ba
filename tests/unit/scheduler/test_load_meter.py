"""How much of the engine's load is whose."""

import pytest

from onlooker.scheduler.cost_model import CostTable, StepWork
from onlooker.scheduler.forecast import Pricing, Work
from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.load_meter import LoadMeter, SeatedClip

COSTS = CostTable(0.01, 0.001, 0.001, 0.0, 0.001, 0.01)
CLIP = StepWork(prefill_tokens=100, batch_size=1, encoder_clips=1)


def metered(*steps: list[SeatedClip]) -> LoadMeter:
    """A meter after a second of each of these steps, over and over."""
    meter = LoadMeter(1.0, 0.0)
    for second in range(1, 31):
        clips = steps[second % len(steps)]
        meter.note(sum((one.work for one in clips), StepWork()), 0.5, COSTS, second, clips)
    return meter


def test_each_gateway_is_told_what_the_clips_of_the_others_take() -> None:
    meter = metered([SeatedClip(CLIP, 1)] * 3 + [SeatedClip(CLIP, 2)])
    assert meter.others_ratio(1) == pytest.approx(meter.frames_ratio / 4)
    assert meter.others_ratio(2) == pytest.approx(meter.frames_ratio * 3 / 4)
    assert meter.others_ratio(3) == pytest.approx(meter.frames_ratio)


def test_one_gateway_has_no_others() -> None:
    meter = metered([SeatedClip(CLIP)])
    assert meter.frames_ratio > 0
    assert meter.others_ratio(0) == 0


def test_a_gateway_whose_clips_end_is_no_load_for_long() -> None:
    meter = metered([SeatedClip(CLIP, 1), SeatedClip(CLIP, 2)])
    before = meter.others_ratio(1)
    for second in range(31, 61):
        meter.note(CLIP, 0.5, COSTS, second, [SeatedClip(CLIP, 1)])
    assert meter.others_ratio(1) < before / 100


def test_quality_is_raised_only_into_what_other_gateways_leave() -> None:
    load = EngineLoad(num_steps=1000, clip_s=0.1, load_ratio=0.6, frames_ratio=0.6)
    shared = EngineLoad(
        num_steps=1000, clip_s=0.1, load_ratio=0.6, frames_ratio=0.6, others_ratio=0.4
    )
    alone, beside = (
        Pricing(most_rest=0.5).prices(one, Work(clips=2.0, contexts=2.0)) for one in (load, shared)
    )
    assert alone is not None
    assert beside is not None
    work = Work(clips=2.0, contexts=2.0)
    assert beside.load(work) == pytest.approx(alone.load(work) + 0.4)
