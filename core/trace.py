"""Traces: where the time of one frame, question or alert went, over processes and servers.

A trace is a tree of *trace spans* that share an id; ids travel between servers as W3C Trace Context
(the header ``traceparent``). Whoever records has a `onlooker.core.tracer.Tracer`.
"""

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

TRACEPARENT = "traceparent"
"""The header, and the key of a response's metadata, that brings a `TraceParent`."""

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

Attribute = str | bool | int | float


@dataclass(frozen=True, slots=True)
class TraceParent:
    """A place in a trace: what is recorded as a part of it hangs below the span that it names."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    is_sampled: bool = True
    """Whether the trace is recorded at all."""

    @classmethod
    def root(cls, *, is_sampled: bool) -> Self:
        """The root of a new trace."""
        return cls(secrets.token_hex(16), secrets.token_hex(8), is_sampled)

    @classmethod
    def read(cls, text: str | None) -> "TraceParent | None":
        """Read a ``traceparent``; None where there is none, or one that is malformed."""
        found = _FORM.fullmatch(text.strip()) if text is not None and len(text) <= 256 else None
        if found is None:
            return None
        version, trace_id, span_id, flags, more = found.groups()
        is_known = version != "ff" and (version != "00" or more is None)
        if not is_known or not trace_id.strip("0") or not span_id.strip("0"):
            return None
        return cls(trace_id, span_id, bool(int(flags, 16) & 1))

    @classmethod
    def brought(cls, headers: Iterable[tuple[bytes, bytes]]) -> "TraceParent | None":
        """The one that a request's headers bring; None where they bring none, or several."""
        found = [value for name, value in headers if name == TRACEPARENT.encode()]
        return cls.read(found[0].decode("latin-1")) if len(found) == 1 else None

    def child(self) -> "TraceParent":
        """A new place below this one."""
        return TraceParent(self.trace_id, secrets.token_hex(8), self.is_sampled)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"


class SpanKind(IntEnum):
    """What a span is to the trace; the numbers are OTLP's."""

    INTERNAL = 1
    SERVER = 2
    """Work for a caller, who may be another process with a span of its own."""
    CLIENT = 3
    """Waiting for somebody else's work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSpan:
    """One stretch of work that has ended. Times are clock times, in seconds."""

    name: str
    place: TraceParent
    parent_id: str | None
    """The id of the span above; None for the root of a trace."""
    start_s: float
    end_s: float
    kind: SpanKind = SpanKind.INTERNAL
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    moments: Sequence[tuple[str, float]] = ()
    """What happened meanwhile, and when."""
    error: str | None = None
    """Why the work failed; None where it did not."""


asked_by: ContextVar[TraceParent | None] = ContextVar("asked_by", default=None)
"""The place that the caller of what runs now has brought along. Set only where traces are on."""
