"""Alerts for phones and chats: addresses that hang, refuse, or take it."""

import asyncio
import json
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from onlooker.core.clock import SystemClock
from onlooker.core.errors import ConfigError
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.watches.apprise_notifier import AppriseNotifier
from onlooker.watches.config import PushSection
from onlooker.watches.outlets import AlertPicture, OutgoingAlert
from onlooker.watches.push import Notifier, PushSender
from tests.fakes.waiting import until
from tests.integration.server.test_watches import receiving

DOOR = StreamId("door")
RED = AlertPicture(b"\xff\xd8 red", "image/jpeg")


class Phone:
    """Notes what it gets; takes what `answers` says, and in the end everything."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.got: list[tuple[str, str, AlertPicture | None]] = []

    def notify(self, title: str, text: str, picture: AlertPicture | None) -> bool:
        self.got.append((title, text, picture))
        return self.answers.pop(0) if self.answers else True


class Hanging(Phone):
    """Answers only when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def notify(self, title: str, text: str, picture: AlertPicture | None) -> bool:
        self.go_on.wait(10)
        return super().notify(title, text, picture)


def outgoing(text: str, at_s: float = 0.0) -> OutgoingAlert:
    async def picture() -> AlertPicture:
        return RED

    alert = SimpleNamespace(text=text, start_s=at_s, end_s=at_s)
    return OutgoingAlert(DOOR, cast(Any, None), cast(Any, alert), picture=picture)


def sender(metrics: Metrics, *phones: Notifier, **settings: Any) -> PushSender:
    quick = {"backoff_min_s": 0.01, "backoff_max_s": 0.01, "max_attempts": 2}
    section = PushSection(**{**quick, **settings})
    return PushSender(section, phones, SystemClock(), metrics)


def count(metrics: Metrics, outcome: str) -> float:
    name = "onlooker_push_deliveries_total"
    return metrics.registry.get_sample_value(name, {"outcome": outcome}) or 0.0


async def test_every_address_gets_the_words_and_the_picture_once() -> None:
    served, metrics, phones = list[str](), Metrics(), (Phone(), Phone(False))
    push = sender(metrics, *phones)
    push.send(outgoing("it is red"), lambda: served.append("red"))
    await until(lambda: served)
    assert phones[0].got == [("door", "it is red", RED)]
    assert len(phones[1].got) == 2, "tried again where it was not taken, and nowhere else"
    assert served == ["red"]
    assert count(metrics, "delivered") == 2
    await push.close()


async def test_an_address_that_hangs_holds_nothing_up_but_its_own_alerts() -> None:
    served, metrics, good, hanging = list[int](), Metrics(), Phone(), Hanging()
    push = sender(metrics, hanging, good, max_queued=2)
    for number in range(4):
        push.send(outgoing(f"alert {number}"), lambda number=number: served.append(number))  # type: ignore[misc]
        await asyncio.sleep(0)
    await until(lambda: len(good.got) + int(count(metrics, "dropped")) >= 4)
    assert push.is_busy(DOOR)
    hanging.go_on.set()
    await until(lambda: len(served) == 4)
    assert not push.is_busy(DOOR)
    await push.close()


async def test_an_alert_that_is_never_taken_is_given_up_and_the_next_one_comes() -> None:
    served, metrics, phone = list[str](), Metrics(), Phone(False, False)
    push = sender(metrics, phone)
    push.send(outgoing("first"), lambda: served.append("first"))
    push.send(outgoing("second"), lambda: served.append("second"))
    await until(lambda: len(served) == 2)
    assert [text for _, text, _ in phone.got] == ["first", "first", "second"]
    assert (count(metrics, "given_up"), count(metrics, "retried")) == (1, 1)
    await push.close()


async def test_what_is_deleted_is_not_pushed() -> None:
    hanging = Hanging()
    push = sender(Metrics(), hanging)
    for at_s in (0.0, 5.0, 9.0):
        push.send(outgoing(f"at {at_s:g}", at_s), lambda: None)
        await asyncio.sleep(0)
    assert push.forget(DOOR, 4.0, 6.0) == 1
    hanging.go_on.set()
    await until(lambda: len(hanging.got) == 2)
    assert [text for _, text, _ in hanging.got] == ["at 0", "at 9"]
    await push.close()


def test_streams_are_chosen_by_tenant_and_name() -> None:
    push = sender(Metrics(), Phone(), tenants=("acme",), streams=("door-*",))
    watch = cast(Any, None)
    assert push.takes(StreamId("acme/door-1"), watch)
    assert not push.takes(StreamId("acme/hall"), watch)
    assert not push.takes(StreamId("door-1"), watch)
    assert not sender(Metrics()).takes(DOOR, watch), "there is nobody to tell"


of_apprise = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""One of its many plug-ins imports what Python is about to drop."""


@of_apprise
async def test_apprise_posts_the_words_and_the_picture() -> None:
    async with receiving() as chat:
        notifier = AppriseNotifier(chat.url.replace("http://", "json://"), 0)
        assert await asyncio.to_thread(notifier.notify, "door", "it is red", RED)
    told = json.loads(chat.got[0][1])
    assert (told["title"], told["message"]) == ("door", "it is red")
    assert told["attachments"][0]["mimetype"] == "image/jpeg"


@of_apprise
def test_an_address_that_is_none_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="number 2") as refused:
        AppriseNotifier("nonsense://user:secret@host", 1)
    assert "secret" not in str(refused.value)
