"""A collector of traces: takes OTLP over HTTP, as protobuf, and keeps the spans."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from tests.fakes.waiting import until


@dataclass(frozen=True, slots=True)
class Collected:
    """A span as it arrived."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for the root of a trace."""
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    server: str
    """The ``service.instance.id`` of who sent it."""
    events: tuple[str, ...]
    is_error: bool


@dataclass(slots=True)
class Collector:
    url: str = ""
    status: int = 200
    spans: list[Collected] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    """Of the requests, request line and headers, in lower case."""
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def named(self, *names: str) -> list[Collected]:
        return [span for span in self.spans if span.name in names]

    async def one(self, name: str, **attributes: Any) -> Collected:
        """The span of this name with these attributes, once it has come."""

        def found() -> list[Collected]:
            return [s for s in self.named(name) if attributes.items() <= s.attributes.items()]

        await until(found)
        return found()[0]

    def children(self, parent: Collected) -> dict[str, Collected]:
        """The spans right below one, by their names."""
        return {s.name: s for s in self.spans if s.parent_id == parent.span_id}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                self.heads.append(head)
                length = int(head.partition("content-length:")[2].split("\r\n")[0])
                body = await reader.readexactly(length)
                if self.status == 200:
                    self._take(ExportTraceServiceRequest.FromString(body))
                writer.write(f"HTTP/1.1 {self.status} -\r\ncontent-length: 0\r\n\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    def _take(self, request: ExportTraceServiceRequest) -> None:
        for group in request.resource_spans:
            server = _plain(group.resource.attributes).get("service.instance.id", "")
            for scope in group.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Collected(
                            name=span.name,
                            trace_id=span.trace_id.hex(),
                            span_id=span.span_id.hex(),
                            parent_id=span.parent_span_id.hex(),
                            start_ns=span.start_time_unix_nano,
                            end_ns=span.end_time_unix_nano,
                            attributes=_plain(span.attributes),
                            server=server,
                            events=tuple(event.name for event in span.events),
                            is_error=span.status.code == span.status.STATUS_CODE_ERROR,
                        )
                    )


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Run a collector while the block runs."""
    collector = Collector()
    server = await asyncio.start_server(collector._serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    collector.url = f"http://127.0.0.1:{port}/v1/traces"
    try:
        yield collector
    finally:
        server.close()
        for writer in collector._open:
            writer.close()
        await until(lambda: not collector._open)


def _plain(attributes: Any) -> dict[str, Any]:
    def value(pair: KeyValue) -> Any:
        return getattr(pair.value, pair.value.WhichOneof("value") or "string_value")

    return {pair.key: value(pair) for pair in attributes}
