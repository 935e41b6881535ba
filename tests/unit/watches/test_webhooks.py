"""Receivers of webhooks that take their time, or cannot exist."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
import standardwebhooks

from onlooker.core.clock import ManualClock
from onlooker.core.errors import InvalidRequest
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.watches import webhooks
from onlooker.watches.config import WebhooksSection
from onlooker.watches.options import Webhook
from onlooker.watches.outlets import OutgoingAlert
from onlooker.watches.webhooks import WebhookSender, standard_signature
from tests.fakes.dripping import dripping
from tests.fakes.waiting import until


def make_sender(metrics: Metrics, **settings: Any) -> WebhookSender:
    section = WebhooksSection(allow_hosts=("127.0.0.0/8",), max_attempts=1, **settings)
    return WebhookSender(section, ManualClock(), metrics)


def send(sender: WebhookSender, url: str, **times: float) -> None:
    """Queue one alert for a webhook."""
    options = SimpleNamespace(webhook=Webhook(url))
    watch = SimpleNamespace(options=options, watch_id="watch_1")
    alert = SimpleNamespace(alert_id="alert_1", traceparent=None, **times)
    outgoing = OutgoingAlert(StreamId("default/door"), cast(Any, watch), cast(Any, alert))
    sender.send(outgoing, lambda: None)


@pytest.fixture(autouse=True)
def _small_body(monkeypatch: pytest.MonkeyPatch) -> None:
    class Body:
        def __init__(self, **_: object) -> None: ...

        def model_dump_json(self) -> str:
            return "{}"

    monkeypatch.setattr(webhooks, "alert_object", lambda alert, stream: alert)
    monkeypatch.setattr(webhooks, "WebhookBody", Body)


def given_up(metrics: Metrics) -> float:
    name = "onlooker_webhook_deliveries_total"
    return metrics.registry.get_sample_value(name, {"outcome": "given_up"}) or 0.0


async def test_a_receiver_that_drips_its_answer_is_given_up_in_time() -> None:
    metrics = Metrics()
    sender = make_sender(metrics, timeout_s=0.3)
    with dripping(b"HTTP/1.1 200 OK\r\nX-A: ") as port:
        send(sender, f"http://127.0.0.1:{port}/")
        await until(lambda: given_up(metrics))
        await sender.close()
    cut_off = metrics.registry.get_sample_value("onlooker_too_slow_total", {"what": "webhook"})
    assert cut_off == 1


async def test_a_kept_webhook_that_cannot_exist_holds_up_nothing() -> None:
    metrics = Metrics()
    sender = make_sender(metrics)
    send(sender, "http://a..b/")
    send(sender, "http://a..b/")
    await until(lambda: given_up(metrics) == 2)
    await sender.close()


async def test_a_webhook_whose_host_cannot_exist_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="names no host that can exist"):
        await make_sender(Metrics()).check(Webhook("http://a..b/"))


async def test_alerts_of_a_deleted_time_are_not_delivered_any_more() -> None:
    sender = make_sender(Metrics())
    for start_s in (1.0, 2.0, 3.0):  # nothing is sent before the loop has its turn
        send(sender, "http://127.0.0.1:9/", start_s=start_s, end_s=start_s + 0.5)
    assert sender.forget(StreamId("default/other"), 0.0, 9.0) == 0
    assert sender.forget(StreamId("default/door"), 2.0, 2.2) == 1
    (line,) = sender._lines.values()
    assert [posted.alert.start_s for posted in line.waiting] == [1.0, 3.0]
    await sender.close()


STANDARD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_a_signature_is_the_one_of_standard_webhooks() -> None:
    body, now = b'{"type": "stream.alert"}', datetime.now(UTC)
    signed = standard_signature(STANDARD, "alert_1", int(now.timestamp()), body)
    headers = {
        "webhook-id": "alert_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signed,
    }
    told = standardwebhooks.Webhook(STANDARD).verify(body, headers)
    assert told == {"type": "stream.alert"}
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(STANDARD).verify(body + b" ", headers)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64!", "whsec_A"])
async def test_a_secret_that_only_looks_like_one_of_standard_webhooks_is_refused(
    secret: str,
) -> None:
    sender = make_sender(Metrics())
    with pytest.raises(InvalidRequest, match="whsec_"):
        await sender.check(Webhook("http://127.0.0.1:1/", secret))
