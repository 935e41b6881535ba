"""Alerts and numbers that outlive the server, on one machine."""

from pathlib import Path
from typing import Any

import pytest

from onlooker.core.ids import StreamId
from onlooker.watches.options import WatchOptions, Webhook
from onlooker.watches.webhooks import WebhookSender
from tests.fakes.streams import ask, running_hub
from tests.unit.watches.test_keeper import RED, VIRTUAL, alerts_of, make_engine, show

DOOR = StreamId("door")
EVERY = {"gate_threshold": 0.0}


async def test_after_a_restart_numbers_go_on_and_earlier_alerts_are_found(tmp_path: Path) -> None:
    async with running_hub(engine=make_engine(), kept=tmp_path, perception=EVERY) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        stream.watches.create(RED, "w")
        await show(stream, ["blue", "red", "blue", "blue"])
        await ask(stream)
        (first,) = alerts_of(stream.subscribe(max_events=100, after=0))
    last_event = stream.last_event
    async with running_hub(engine=make_engine(), kept=tmp_path, perception=EVERY) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        assert last_event <= stream.last_event < last_event + 10, "a clean end leaves no gap"
        await show(stream, ["blue", "red", "blue", "blue"], first=10)
        await ask(stream)
        found = alerts_of(stream.subscribe(max_events=100, after=0))
        assert found[0] == first
        assert [alert.number for alert in found] == [1, 2]


async def test_an_alert_that_waits_for_its_webhook_is_posted_after_the_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted: list[tuple[str, bytes]] = []
    answers: list[int] = [503]

    async def post(self: object, hook: object, one: Any, attempt: int) -> int:
        posted.append((one.alert.alert_id, one.body))
        return answers[0]

    monkeypatch.setattr(WebhookSender, "_post", post)
    options = WatchOptions(condition=RED.condition, webhook=Webhook("https://example.com/hook"))
    for status in (503, 200, 200):
        answers[0] = status
        async with running_hub(engine=make_engine(), kept=tmp_path, perception=EVERY) as hub:
            stream = await hub.open_stream(DOOR, VIRTUAL)
            if status == 503:
                stream.watches.create(options, "w")
                await show(stream, ["blue", "red", "blue", "blue"])
            await ask(stream)
            await stream.keep_watches()
    assert len(posted) == 2, "not posted a third time: it was taken"
    assert posted[0] == posted[1]
