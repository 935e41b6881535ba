import random
from typing import Any

from onlooker.core.clock import ManualClock
from onlooker.core.metrics import Metrics
from onlooker.core.trace import TraceParent
from onlooker.core.tracer import Tracer


def make_tracer(**changes: Any) -> Tracer:
    options: dict[str, Any] = {
        "clock": ManualClock(),
        "metrics": Metrics(),
        "rng": random.Random(1),
        "ratio": 1.0,
        "frame_ratio": 0.0,
        "slow_frame_s": None,
        "slow_frames_per_s": 1.0,
        "with_texts": False,
        "max_queued": 64,
    }
    return Tracer(**{**options, **changes})


def test_a_share_of_the_traces_that_begin_here_is_recorded() -> None:
    tracer = make_tracer(ratio=0.25)
    assert 200 < sum(tracer.begin().is_sampled for _ in range(1000)) < 300


def test_whoever_brings_a_trace_decides_whether_it_is_recorded() -> None:
    never, always = make_tracer(ratio=0.0), make_tracer(ratio=1.0)
    assert never.begin(TraceParent.root(is_sampled=True)).is_sampled
    assert not always.begin(TraceParent.root(is_sampled=False)).is_sampled


def test_of_what_is_not_recorded_nothing_is_kept() -> None:
    tracer = make_tracer(ratio=0.0)
    place = tracer.begin()
    tracer.record("question", place, above=None, start_s=0.0)
    tracer.step("question.wait", place, 0.0, 1.0)
    assert tracer.num_waiting == 0


def test_a_slow_frame_is_recorded_whatever_the_share_says_so_many_a_second() -> None:
    clock = ManualClock()
    tracer = make_tracer(clock=clock, slow_frame_s=2.0, slow_frames_per_s=2.0)
    assert tracer.begin_frame(1.9) is None
    assert [tracer.begin_frame(2.0) is not None for _ in range(3)] == [True, True, False]
    clock.advance(0.5)
    assert tracer.begin_frame(5.0) is not None


def test_more_spans_than_may_wait_are_left_out_and_counted() -> None:
    metrics = Metrics()
    tracer = make_tracer(metrics=metrics, max_queued=3)
    place = tracer.begin()
    for index in range(5):
        tracer.step(f"part {index}", place, 0.0, 1.0)
    assert [span.name for span in tracer.waiting(10)] == ["part 0", "part 1", "part 2"]
    name, labels = "onlooker_trace_spans_total", {"outcome": "dropped"}
    assert metrics.registry.get_sample_value(name, labels) == 2
    tracer.let_go(2)
    assert [span.name for span in tracer.waiting(10)] == ["part 2"]


def test_attributes_have_the_projects_prefix_and_those_that_are_not_known_are_left_out() -> None:
    tracer = make_tracer()
    tracer.record("q", tracer.begin(), above=None, start_s=0.0, tokens__prompt=3, ttft_s=None)
    (span,) = tracer.waiting(1)
    assert span.attributes == {"onlooker.tokens.prompt": 3}
