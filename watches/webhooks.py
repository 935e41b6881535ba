"""`WebhookSender`: posts alerts to webhooks, signed, in order, and again where it fails.

Every watch with a webhook has a bounded queue of its own, so that a receiver that hangs holds up
nothing but its own alerts. A task empties the queue and ends with it. An alert that cannot be
delivered is given up after some attempts, and the next one gets its turn.
"""

import asyncio
import hashlib
import hmac
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import httpcore

from onlooker.core.address import AddressPolicy, Target
from onlooker.core.backoff import Backoff
from onlooker.core.clock import Clock
from onlooker.core.errors import ClientError, Forbidden, InvalidRequest
from onlooker.core.ids import StreamId, split_stream_id
from onlooker.core.metrics import Metrics
from onlooker.core.network import AsyncGuardedBackend, Lookups
from onlooker.core.protocol.watches import WebhookBody
from onlooker.core.trace import TRACEPARENT
from onlooker.core.tracer import Tracer
from onlooker.watches.alert import Alert
from onlooker.watches.alert_spans import record_told
from onlooker.watches.config import WebhooksSection
from onlooker.watches.options import Webhook
from onlooker.watches.watch import Watch
from onlooker.watches.wire import alert_object

_log = logging.getLogger("onlooker.watches")

FINAL_STATUSES = range(400, 500)
"""Answers by which a receiver says that it will not take this alert, however often it comes."""

_TRY_AGAIN = (408, 429)
"""Answers in the range of `FINAL_STATUSES` that say the opposite: too slow, and too many."""


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """``t=TIMESTAMP,v1=HEX``: HMAC-SHA256 of the timestamp, a full stop and the body."""
    signed = f"{timestamp}.".encode() + body
    return f"t={timestamp},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class _Posted:
    """An alert, the body that is posted, and what is called when it needs no webhook any more."""

    alert: Alert
    body: bytes
    served: Callable[[], None]


@dataclass(slots=True)
class _Line:
    """The alerts that wait for the webhook of one watch."""

    hook: Webhook
    waiting: "deque[_Posted]" = field(default_factory=deque)
    """Oldest first."""
    task: "asyncio.Task[None] | None" = None


class WebhookSender:
    """Posts to all webhooks of a server. Everything runs on the event loop, but for resolving
    names."""

    def __init__(
        self,
        settings: WebhooksSection,
        clock: Clock,
        metrics: Metrics,
        tracer: Tracer | None = None,
    ) -> None:
        """`tracer`: records deliveries; None where there are no traces."""
        self._settings, self._clock, self._metrics = settings, clock, metrics
        self._tracer = tracer
        self._backoff = Backoff(settings.backoff_min_s, settings.backoff_max_s)
        self._policy = AddressPolicy(settings.rules)
        self._lookups = Lookups(
            self._policy,
            num_threads=settings.lookup_threads,
            timeout_s=settings.lookup_timeout_s,
        )
        self._pool: httpcore.AsyncConnectionPool | None = None
        self._lines: dict[tuple[StreamId, str], _Line] = {}

    async def check(self, hook: Webhook | None) -> None:
        """Refuse a webhook that may not be posted to.

        Raises:
            InvalidRequest: its URL is no URL of a webhook, or its host does not resolve.
            Forbidden: webhooks are off, or its address is not allowed.
        """
        if hook is None:
            return
        if not self._settings.enabled:
            raise Forbidden(
                "this server posts to no webhooks (setting watches.webhooks.enabled)",
                param="webhook",
            )
        target = self._target(hook)
        try:
            await self._lookups.find(target.host, target.port)
        except OSError:
            raise InvalidRequest(
                f"the webhook's host '{target.host}' does not resolve", param="webhook.url"
            ) from None

    def send(
        self,
        stream_id: StreamId,
        watch: Watch,
        alert: Alert,
        served: Callable[[], None] = _nothing,
        *,
        has_picture: bool = False,
    ) -> None:
        """Queue an alert for its watch's webhook, if there is one. Never waits. `served` is called
        once it is delivered, given up or let go. `has_picture`: whether the stream's album has the
        evidence."""
        hook = watch.options.webhook
        if hook is None:
            served()
            return
        stream = split_stream_id(stream_id)[1]
        told = alert_object(alert, stream=stream if has_picture else None)
        body = WebhookBody(stream=stream, alert=told).model_dump_json().encode()
        key = (stream_id, watch.watch_id)
        line = self._lines.setdefault(key, _Line(hook))
        line.hook = hook
        line.waiting.append(_Posted(alert, body, served))
        if len(line.waiting) > self._settings.max_queued:
            line.waiting.popleft().served()
            self._metrics.webhook_deliveries.labels(outcome="dropped").inc()
        if line.task is None:
            line.task = asyncio.create_task(self._empty(key, line))

    def forget(self, stream_id: StreamId, start_s: float, end_s: float) -> int:
        """Let go of a stream's alerts that wait and whose evidence touches a span of stream time;
        returns how many. One that is being delivered is not stopped."""
        num_gone = 0
        for (of_stream, _), line in self._lines.items():
            if of_stream == stream_id:
                kept = [
                    waiting
                    for waiting in line.waiting
                    if waiting.alert.start_s > end_s or waiting.alert.end_s < start_s
                ]
                num_gone += len(line.waiting) - len(kept)
                line.waiting.clear()
                line.waiting.extend(kept)
        return num_gone

    def is_busy(self, stream_id: StreamId) -> bool:
        """Whether alerts of a stream wait to be posted."""
        return any(of_stream == stream_id for of_stream, _ in self._lines)

    async def let_go(self, stream_id: StreamId) -> None:
        """Post nothing more of a stream: its next owner does."""
        keys = [key for key in self._lines if key[0] == stream_id]
        lines = [self._lines.pop(key) for key in keys]
        tasks = [line.task for line in lines if line.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Stop, and let go of the alerts that wait."""
        tasks = [line.task for line in self._lines.values() if line.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._pool is not None:
            await self._pool.aclose()

    async def _empty(self, key: tuple[StreamId, str], line: _Line) -> None:
        while line.waiting:
            posted = line.waiting.popleft()
            outcome = await self._deliver(line.hook, posted)
            if self._tracer is not None:
                record_told(self._tracer, posted.alert, to="webhook", outcome=outcome)
            self._metrics.webhook_deliveries.labels(outcome=outcome).inc()
            posted.served()
        del self._lines[key]

    async def _deliver(self, hook: Webhook, posted: _Posted) -> str:
        for attempt in range(1, self._settings.max_attempts + 1):
            try:
                status = await self._post(hook, posted, attempt)
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError,
                    ClientError, OSError) as error:  # fmt: skip
                _log.info("a webhook failed", extra={"why": type(error).__name__})
                status = 0
            if 200 <= status < 300:
                return "delivered"
            if status in FINAL_STATUSES and status not in _TRY_AGAIN:
                return "given_up"
            if attempt < self._settings.max_attempts:
                self._metrics.webhook_deliveries.labels(outcome="retried").inc()
                await self._clock.sleep(self._backoff.wait_s(attempt))
        return "given_up"

    async def _post(self, hook: Webhook, posted: _Posted, attempt: int) -> int:
        """Try one delivery; returns the HTTP status of the answer. Redirects are not followed."""
        alert, body = posted.alert, posted.body
        target = self._target(hook)
        timestamp = int(self._clock.wall_s())
        headers = [
            ("Host", target.netloc),
            ("User-Agent", "onlooker"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Onlooker-Delivery", alert.alert_id),
            ("Onlooker-Attempt", str(attempt)),
        ]
        if alert.traceparent is not None:
            headers.append((TRACEPARENT, alert.traceparent))
        if hook.secret:
            headers.append(("Onlooker-Signature", signature(hook.secret, timestamp, body)))
        limit_s = self._settings.timeout_s
        limits = {"connect": limit_s, "read": limit_s, "write": limit_s, "pool": limit_s}
        if self._pool is None:
            self._pool = httpcore.AsyncConnectionPool(
                max_connections=32,
                keepalive_expiry=30,
                network_backend=AsyncGuardedBackend(self._lookups),
            )
        try:
            async with (
                asyncio.timeout(limit_s),
                self._pool.stream(
                    "POST", target.url, headers=headers, content=body,
                    extensions={"timeout": limits},
                ) as response,
            ):  # fmt: skip
                return response.status
        except (TimeoutError, httpcore.TimeoutException):
            self._metrics.too_slow.labels(what="webhook").inc()
            raise

    def _target(self, hook: Webhook) -> Target:
        try:
            return self._policy.parse(hook.url)
        except Forbidden as error:  # its scheme is not HTTP, which no setting allows
            raise InvalidRequest(error.message, param=error.param) from None
