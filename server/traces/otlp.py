"""Spans as OpenTelemetry's protocol has them. Needs the extra ``traces``."""

from collections.abc import Mapping, Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from onlooker.core.trace import Attribute, TraceSpan

CONTENT_TYPE = "application/x-protobuf"
SCOPE = "onlooker"


def encoded(
    spans: Sequence[TraceSpan], resource: Mapping[str, Attribute], *, zero_wall_s: float
) -> bytes:
    """The body of one post. `zero_wall_s`: the wall time at which the clock was 0."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.extend(_attributes(resource))
    scope = group.scope_spans.add()
    scope.scope.name = SCOPE
    scope.spans.extend(_span(span, zero_wall_s) for span in spans)
    body: bytes = request.SerializeToString()
    return body


def _span(span: TraceSpan, zero_wall_s: float) -> Span:
    def nanoseconds(at_s: float) -> int:
        return round((zero_wall_s + at_s) * 1e9)

    told = Span(
        trace_id=bytes.fromhex(span.place.trace_id),
        span_id=bytes.fromhex(span.place.span_id),
        parent_span_id=bytes.fromhex(span.parent_id or ""),
        name=span.name,
        kind=int(span.kind),  # type: ignore[arg-type]  # the numbers are OTLP's own
        start_time_unix_nano=nanoseconds(span.start_s),
        end_time_unix_nano=nanoseconds(max(span.start_s, span.end_s)),
        attributes=_attributes(span.attributes),
        flags=1,
    )
    for name, at_s in span.moments:
        told.events.add(name=name, time_unix_nano=nanoseconds(at_s))
    if span.error is not None:
        told.status.code = Status.STATUS_CODE_ERROR
        told.status.message = span.error
    return told


def _attributes(attributes: Mapping[str, Attribute]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def _value(value: Attribute) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=value)
