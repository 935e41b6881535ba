"""What a gateway takes for the engine's load when it has nothing to do itself."""

from onlooker.core.clock import ManualClock
from onlooker.core.metrics import Metrics
from onlooker.engine.interface import FinishReason
from onlooker.engine.memory.plan import RequestReport
from onlooker.engine.vllm_adapter.gateway.gauge import HOLD_S, LoadGauge
from onlooker.engine.vllm_adapter.gateway.outcome import RequestOutcome
from onlooker.scheduler.load import EngineLoad

LOAD = EngineLoad(load_ratio=0.9, others_ratio=0.5)
BUSY = RequestOutcome(FinishReason.STOP, 1, 0, RequestReport(), None, LOAD)


def test_an_engine_of_ones_own_is_idle_with_nothing_to_do() -> None:
    gauge = LoadGauge(Metrics(), clock=ManualClock())
    with gauge.running():
        gauge.note(BUSY)
        assert gauge.load.load_ratio == 0.9
    assert gauge.load.load_ratio == 0


def test_an_engine_that_others_use_may_be_busy_a_while_longer() -> None:
    clock = ManualClock()
    gauge = LoadGauge(Metrics(), clock=clock, is_shared=True)
    gauge.note(BUSY)
    clock.advance(HOLD_S / 2)
    assert gauge.load.others_ratio == 0.5
    clock.advance(HOLD_S)
    assert (gauge.load.load_ratio, gauge.load.others_ratio) == (0, 0)
