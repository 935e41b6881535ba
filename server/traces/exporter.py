"""`SpanExporter`: posts a server's spans to a collector, now and then and in the background.

A collector that is away costs one attempt now and then: spans wait, bounded by the tracer, and it
is told once in the log, and once more when it is back.
"""

import asyncio
import logging
import ssl
from collections.abc import Mapping

import httpx

from onlooker.core.backoff import Backoff
from onlooker.core.metrics import Metrics
from onlooker.core.trace import Attribute, TraceSpan
from onlooker.core.tracer import Tracer
from onlooker.server.traces.config import TracesSection
from onlooker.server.traces.otlp import CONTENT_TYPE, encoded

_log = logging.getLogger("onlooker.server.traces")

MAX_WAIT_S = 60.0
"""The longest time between two attempts to reach a collector that is away."""

TRY_AGAIN = (408, 429, 502, 503, 504)
"""Statuses by which a collector says that it will take the same post later."""


class SpanExporter:
    """Of one server. `run` as a task, then `close`.

    Args:
        tracer: whose spans are posted.
        resource: what is the same of all spans: who recorded them.
    """

    def __init__(
        self,
        tracer: Tracer,
        settings: TracesSection,
        *,
        resource: Mapping[str, Attribute],
        metrics: Metrics,
    ) -> None:
        assert settings.endpoint is not None
        self._tracer, self._settings, self._metrics = tracer, settings, metrics
        self._endpoint, self._resource = settings.endpoint, resource
        self._backoff = Backoff(settings.interval_s, max(MAX_WAIT_S, settings.interval_s))
        self._num_failed = 0
        """Attempts in a row that failed."""
        self._client: httpx.AsyncClient | None = None

    async def run(self) -> None:
        """Post spans until cancelled."""
        while True:
            wait_s = self._settings.interval_s
            if self._num_failed:
                wait_s = self._backoff.wait_s(self._num_failed)
            await self._tracer.clock.sleep(wait_s)
            await self.post()

    async def post(self) -> None:
        """Post all that waits; stops where the collector does not take it."""
        while spans := self._tracer.waiting(self._settings.max_batch):
            why = await self._refusal(spans)
            if why is not None:
                self._num_failed += 1
                if self._num_failed == 1:
                    _log.warning(
                        "spans do not reach the collector (traces.endpoint); they wait, and this "
                        "is not told again until they do",
                        extra={"why": why},
                    )
                return
            if self._num_failed:
                self._num_failed = 0
                _log.info("spans reach the collector again")

    async def close(self) -> None:
        """Post what waits, once, and close the connection."""
        if not self._num_failed:
            await self.post()
        if self._client is not None:
            await self._client.aclose()

    async def _refusal(self, spans: list[TraceSpan]) -> str | None:
        """Post these spans; returns why they are still to be posted, None where they are not."""
        try:
            body = await asyncio.to_thread(self._encoded, spans)
            reply = await self._connected().post(self._endpoint, content=body)
        except (httpx.HTTPError, OSError) as error:
            return type(error).__name__
        if reply.status_code in TRY_AGAIN:
            return f"HTTP status {reply.status_code}"
        is_taken = reply.is_success
        if not is_taken:
            _log.warning(
                "the collector refuses spans, which are lost (traces.endpoint, traces.headers)",
                extra={"status": reply.status_code},
            )
        self._metrics.trace_spans.labels("exported" if is_taken else "refused").inc(len(spans))
        self._tracer.let_go(len(spans))
        return None

    def _encoded(self, spans: list[TraceSpan]) -> bytes:
        clock = self._tracer.clock
        return encoded(spans, self._resource, zero_wall_s=clock.wall_s() - clock.now_s())

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            given = [header.get_secret_value().partition(":") for header in self._settings.headers]
            self._client = httpx.AsyncClient(
                timeout=self._settings.timeout_s,
                verify=ssl.create_default_context(),
                trust_env=False,
                headers={
                    **{name.strip(): value.strip() for name, _, value in given},
                    "content-type": CONTENT_TYPE,
                },
            )
        return self._client
