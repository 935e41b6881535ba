from onlooker.core.trace import TraceParent
from onlooker.scheduler.ticket import Served
from onlooker.streams.engine_spans import record_served
from tests.unit.core.test_tracer import make_tracer


def test_what_the_engines_process_noted_becomes_spans_of_the_request() -> None:
    tracer = make_tracer()
    above = TraceParent.root(is_sampled=True)
    served = Served(
        "question", 3.0, 1.0, ("decode",), started_at_s=5.0, first_token_at_s=6.0,
        last_token_at_s=9.0,
    )  # fmt: skip
    record_served(tracer, above, served, since_s=4.5)
    spans = {span.name: span for span in tracer.waiting(10)}
    times = {name: (span.start_s, span.end_s) for name, span in spans.items()}
    assert times == {
        "engine.queue": (4.5, 5.0),
        "engine.prefill": (5.0, 6.0),
        "engine.decode": (6.0, 9.0),
    }
    assert {span.parent_id for span in spans.values()} == {above.span_id}
    assert spans["engine.decode"].attributes == {
        "onlooker.request_class": "question",
        "onlooker.missed": "decode",
    }


def test_a_clip_which_is_one_token_has_no_decode() -> None:
    tracer = make_tracer()
    served = Served("ingest", 0.0, 0.0, (), 5.0, 6.0, 6.0)
    record_served(tracer, TraceParent.root(is_sampled=True), served, since_s=5.0)
    record_served(tracer, TraceParent.root(is_sampled=True), None, since_s=5.0)
    assert [span.name for span in tracer.waiting(10)] == ["engine.queue", "engine.prefill"]
