"""The spans of an alert: from the frame that is its evidence to whoever is told of it."""

from typing import Literal

from onlooker.core.ids import StreamId, split_stream_id
from onlooker.core.media import Clip
from onlooker.core.trace import SpanKind, TraceParent
from onlooker.core.tracer import Tracer
from onlooker.watches.alert import Alert, Statement


def record_alert(
    tracer: Tracer,
    place: TraceParent,
    alert: Alert,
    *,
    stream_id: StreamId,
    clip: Clip,
    statement: Statement,
) -> None:
    """Record an alert that has just been raised, at `place`: when its evidence came in, when it was
    decided to speak, and when the words were found."""
    now_s = tracer.clock.now_s()
    received_s = min(clip.frames[1].received_at_s, now_s)
    decided_s = min(max(received_s, _clock_s(tracer, statement.decided_wall_s)), now_s)
    tenant, stream = split_stream_id(stream_id)
    tracer.record(
        "alert",
        place,
        above=None,
        start_s=received_s,
        end_s=now_s,
        kind=SpanKind.SERVER,
        tenant=tenant,
        stream=stream,
        watch=alert.watch_id,
        alert=alert.alert_id,
        number=alert.number,
        kind_of_watch=alert.kind,
        confidence=alert.confidence,
        staleness_s=alert.staleness_s,
        text__alert=alert.text if tracer.with_texts else None,
    )
    tracer.step("alert.decide", place, received_s, decided_s)
    tracer.step("alert.write", place, decided_s, now_s)


def record_told(
    tracer: Tracer, alert: Alert, *, to: Literal["connection", "events", "webhook"], outcome: str
) -> None:
    """Record that a subscriber was told of an alert, or a webhook posted to: from when it was
    decided to speak until now."""
    above = TraceParent.read(alert.traceparent)
    if above is None:
        return
    now_s = tracer.clock.now_s()
    tracer.record(
        "alert.deliver",
        above.child(),
        above=above,
        start_s=min(now_s, _clock_s(tracer, alert.decided_wall_s)),
        end_s=now_s,
        kind=SpanKind.CLIENT if to == "webhook" else SpanKind.INTERNAL,
        to=to,
        outcome=outcome,
        alert=alert.alert_id,
    )


def _clock_s(tracer: Tracer, wall_s: float) -> float:
    return wall_s - tracer.clock.wall_s() + tracer.clock.now_s()
