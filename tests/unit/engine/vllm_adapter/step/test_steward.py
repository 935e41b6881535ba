"""What the outputs of a step's ended requests tell."""

from onlooker.core.clock import ManualClock
from onlooker.engine.vllm_adapter.step.docket import Docket
from onlooker.engine.vllm_adapter.step.steward import Steward
from onlooker.engine.vllm_adapter.wire import read_load
from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.load_meter import LoadMeter
from onlooker.scheduler.slo_policy import SloPolicy
from onlooker.scheduler.step_plan import StepLimits
from tests.unit.engine.vllm_adapter.step.factories import make_request


def make_steward() -> Steward:
    docket = Docket(num_covered=lambda _: 0, retrieves=lambda _: False, token_bytes=1)
    clock = ManualClock()
    meter = LoadMeter(1.0, clock.now_s())
    return Steward(SloPolicy(SchedulerSection()), docket, clock, meter, lambda: (1.0, 1.0))


def test_one_of_the_requests_that_end_together_tells_how_busy_the_engine_is() -> None:
    told = make_steward().told(["a", "b", "c"])
    assert [name for name in told if read_load(told[name]) is not None] == ["c"]
    assert list(told) == ["a", "b", "c"]


def test_the_last_request_of_each_gateway_tells_how_busy_the_engine_is() -> None:
    steward = make_steward()
    requests = [make_request(name, seat=seat) for name, seat in (("a", 1), ("b", 2), ("c", 1))]
    steward.lineup([], requests, StepLimits(max_tokens=100, max_jobs=8))
    told = steward.told(["a", "b", "c"])
    assert [name for name in told if read_load(told[name]) is not None] == ["b", "c"]


def test_nothing_is_told_where_no_request_ends() -> None:
    assert make_steward().told([]) == {}
