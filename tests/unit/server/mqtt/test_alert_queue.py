"""Alerts that wait for a broker, and what it tells about those that it may have."""

from types import SimpleNamespace
from typing import Any, cast

from onlooker.core.ids import StreamId
from onlooker.server.mqtt.alert_queue import AlertQueue
from onlooker.watches.outlets import OutgoingAlert

HOUSE, BARN = StreamId("house"), StreamId("barn")


def alert(stream: StreamId, name: str, at_s: float = 0.0) -> OutgoingAlert:
    told = SimpleNamespace(alert_id=name, start_s=at_s, end_s=at_s)
    return OutgoingAlert(stream, cast(Any, None), cast(Any, told), is_again=True)


def queue_of(*alerts: OutgoingAlert) -> tuple[AlertQueue, list[str]]:
    """A queue, and the ids of the alerts that were served."""
    queue, served = AlertQueue(100), list[str]()
    for one in alerts:
        queue.add(one, lambda one=one: served.append(one.alert.alert_id))  # type: ignore[misc]
    return queue, served


def ids(queue: AlertQueue) -> list[str]:
    found = []
    while queue:
        found.append(queue.first.outgoing.alert.alert_id)
        queue.take(queue.first)
    return found


def test_what_the_broker_holds_tells_which_alerts_it_has_taken() -> None:
    queue, _ = queue_of(alert(HOUSE, "a"), alert(BARN, "x"), alert(HOUSE, "b"), alert(HOUSE, "c"))
    known = queue.settle(HOUSE, "b")
    assert [one.outgoing.alert.alert_id for one in known] == ["a", "b"]
    assert queue.first.is_unsure, "of another stream it tells nothing"
    assert ids(queue) == ["x", "c"]


def test_a_broker_that_holds_another_alert_has_taken_none() -> None:
    queue, _ = queue_of(alert(HOUSE, "a"))
    assert queue.settle(HOUSE, "from before") == []
    assert queue.settle(HOUSE, None) == []
    assert not queue.first.is_unsure


def test_the_oldest_goes_for_one_too_many() -> None:
    queue = AlertQueue(1)
    assert queue.add(alert(HOUSE, "a"), lambda: None) is None
    lost = queue.add(alert(HOUSE, "b"), lambda: None)
    assert lost is not None
    assert lost.outgoing.alert.alert_id == "a"


def test_alerts_of_a_deleted_span_are_let_go() -> None:
    queue, _ = queue_of(alert(HOUSE, "a", 1.0), alert(HOUSE, "b", 5.0), alert(BARN, "x", 1.0))
    assert queue.forget(HOUSE, 0.0, 2.0) == 1
    assert ids(queue) == ["b", "x"]
