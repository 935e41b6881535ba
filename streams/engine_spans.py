"""The spans of the engine's own process, as far as it told with the end of a request."""

from onlooker.core.trace import TraceParent
from onlooker.core.tracer import Tracer
from onlooker.scheduler.ticket import Served


def record_served(
    tracer: Tracer, above: TraceParent, served: Served | None, *, since_s: float
) -> None:
    """Record how the scheduler served a request that was made at `since_s`. Its process shares the
    monotonic clock of this one, and needs no exporter: what it tells comes with the request's
    output."""
    if served is None:
        return
    begun_s, first_s, last_s = served.started_at_s, served.first_token_at_s, served.last_token_at_s
    what = {"request_class": served.request_class, "missed": ",".join(served.missed) or None}
    tracer.step("engine.queue", above, min(since_s, begun_s), begun_s, **what)
    tracer.step("engine.prefill", above, begun_s, first_s, **what)
    if last_s > first_s:
        tracer.step("engine.decode", above, first_s, last_s, **what)
