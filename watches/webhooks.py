"""`WebhookSender`: posts alerts to webhooks, signed, in order, and again where it fails.

Every watch with a webhook has a bounded queue of its own, so that a receiver that hangs holds up
nothing but its own alerts. A task empties the queue and ends with it. An alert that cannot be
delivered is given up after some attempts, and the next one gets its turn.
"""

import asyncio
import base64
import binascii
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
from onlooker.watches.outlets import OutgoingAlert
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


STANDARD_PREFIX = "whsec_"
"""Begins a secret as Standard Webhooks writes them: base64 of the key follows."""


def standard_signature(secret: str, delivery: str, timestamp: int, body: bytes) -> str:
    """``v1,BASE64``, as Standard Webhooks has it: HMAC-SHA256 of the delivery's id, the timestamp
    and the body, with full stops between them.

    Raises:
        ValueError: the secret does not begin with ``whsec_``, or no base64 of a key follows.
    """
    signed = f"{delivery}.{timestamp}.".encode() + body
    digest = hmac.new(_standard_key(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _standard_key(secret: str) -> bytes:
    head, written = secret[: len(STANDARD_PREFIX)], secret[len(STANDARD_PREFIX) :]
    try:
        key = base64.b64decode(written + "=" * (-len(written) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if head != STANDARD_PREFIX or not key:
        raise ValueError("no key")
    return key


def _check_secret(secret: str) -> None:
    """Refuse a secret that says it is one of Standard Webhooks and is none."""
    if not secret.startswith(STANDARD_PREFIX):
        return
    try:
        _standard_key(secret)
    except ValueError:
        raise InvalidRequest(
            f"a webhook's secret that begins with {STANDARD_PREFIX} goes on with the base64 of its "
            "key (Standard Webhooks), which this one does not; any other text is a secret, too",
            param="webhook.secret",
        ) from None


@dataclass(frozen=True, slots=True)
class _Posted:
    """An alert, the body that is posted, and what is called when it needs no webhook any more."""

    outgoing: OutgoingAlert
    body: bytes
    served: Callable[[], None]

    @property
    def alert(self) -> Alert:
        return self.outgoing.alert


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
            InvalidRequest: its URL is no URL of a webhook, its host does not resolve, or its secret
                is no secret.
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
        _check_secret(hook.secret)
        try:
            await self._lookups.find(target.host, target.port)
        except OSError:
            raise InvalidRequest(
                f"the webhook's host '{target.host}' does not resolve", param="webhook.url"
            ) from None

    @property
    def name(self) -> str:
        """See `AlertOutlet.name`."""
        return "webhook"

    def takes(self, stream_id: StreamId, watch: Watch) -> bool:
        """Whether the watch has a webhook."""
        return watch.options.webhook is not None

    def send(self, outgoing: OutgoingAlert, served: Callable[[], None]) -> None:
        """Queue an alert for its watch's webhook, which it has. Never waits."""
        stream_id, watch, alert = outgoing.stream_id, outgoing.watch, outgoing.alert
        hook = watch.options.webhook
        assert hook is not None, "who sends has looked whether this takes the alert"
        stream = split_stream_id(stream_id)[1]
        told = alert_object(alert, stream=stream if outgoing.has_album else None)
        body = WebhookBody(stream=stream, alert=told).model_dump_json().encode()
        key = (stream_id, watch.watch_id)
        line = self._lines.setdefault(key, _Line(hook))
        line.hook = hook
        line.waiting.append(_Posted(outgoing, body, served))
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
                    if not waiting.outgoing.touches(stream_id, start_s, end_s)
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
            ("Webhook-Id", alert.alert_id),
            ("Webhook-Timestamp", str(timestamp)),
        ]
        if alert.traceparent is not None:
            headers.append((TRACEPARENT, alert.traceparent))
        if hook.secret:
            headers.append(("Onlooker-Signature", signature(hook.secret, timestamp, body)))
        if hook.secret.startswith(STANDARD_PREFIX):
            signed = standard_signature(hook.secret, alert.alert_id, timestamp, body)
            headers.append(("Webhook-Signature", signed))
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
