import asyncio

import pytest

from onlooker.core.media import FrameOutcome
from onlooker.core.metrics import Metrics
from onlooker.streams.events import ClipSeen, FrameAck, StreamEnded, StreamEvent
from onlooker.streams.fanout import EventLog
from tests.fakes.streams import waiting_events


def make_log(*, num_retained: int = 100, metrics: Metrics | None = None) -> EventLog:
    return EventLog(num_retained=num_retained, metrics=metrics or Metrics())


def ack(sequence: int) -> FrameAck:
    return FrameAck(sequence, FrameOutcome.KEPT, None, 0.0)


def seen(index: int) -> ClipSeen:
    return ClipSeen(index, 0.0, 0.0, 0.0)


async def test_every_subscriber_gets_every_event_in_order() -> None:
    log = make_log()
    first, second = log.subscribe(max_events=10), log.subscribe(max_events=10)
    events: list[StreamEvent] = [ack(1), seen(0), ack(2), seen(1), StreamEnded("done")]
    for event in events:
        log.publish(event)
    assert [event async for _, event in first] == events
    assert [number async for number, _ in second] == [1, 2, 3, 4, 5]


async def test_a_slow_subscriber_loses_its_oldest_acknowledgements_and_nothing_else() -> None:
    metrics = Metrics()
    log = make_log(metrics=metrics)
    slow = log.subscribe(max_events=10)
    for number in range(10_000):
        log.publish(ack(number))
        if number % 2000 == 0:
            log.publish(seen(number))
    events = waiting_events(slow)
    assert [event.clip_index for event in events if isinstance(event, ClipSeen)] == [
        0, 2000, 4000, 6000, 8000,
    ]  # fmt: skip
    assert [event.sequence for event in events if isinstance(event, FrameAck)] == list(
        range(9990, 10_000)
    )
    assert slow.num_dropped == 9990
    counted = metrics.registry.get_sample_value(
        "onlooker_events_dropped_total", {"kind": "FrameAck"}
    )
    assert counted == 9990


async def test_the_end_reaches_even_a_subscriber_whose_queue_is_full() -> None:
    log = make_log()
    slow = log.subscribe(max_events=2)
    for index in range(50):
        log.publish(seen(index))
    log.publish(StreamEnded("done"))
    assert [event async for _, event in slow][-1] == StreamEnded("done")


async def test_who_comes_back_gets_what_was_missed_once_and_in_order() -> None:
    log = make_log()
    for index in range(5):
        log.publish(ack(index))
        log.publish(seen(index))
    back = log.subscribe(max_events=100, after=4)
    log.publish(seen(99))
    assert [e.clip_index for e in waiting_events(back) if isinstance(e, ClipSeen)] == [2, 3, 4, 99]


async def test_acknowledgements_do_not_push_other_events_out_of_what_is_retained() -> None:
    log = make_log(num_retained=20)
    log.publish(seen(7))
    for index in range(1000):
        log.publish(ack(index))
    assert waiting_events(log.subscribe(max_events=10, after=0)) == [seen(7)]


@pytest.mark.parametrize("after", [None, 0])
async def test_subscribing_to_a_closed_stream_tells_that_it_is_closed(after: int | None) -> None:
    log = make_log()
    log.publish(StreamEnded("done"))
    events = [event async for _, event in log.subscribe(max_events=5, after=after)]
    assert events == [StreamEnded("done")]


async def test_closing_a_subscription_ends_its_iteration_and_frees_it() -> None:
    log = make_log()
    subscription = log.subscribe(max_events=5)
    reading = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    subscription.close()
    with pytest.raises(StopAsyncIteration):
        await reading
    assert log.num_subscribers == 0


async def test_a_subscriber_that_looks_by_itself_is_woken_for_news_only() -> None:
    log = make_log()
    subscription = log.subscribe(max_events=9, wakes_for_all=False)
    waiting = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    log.publish(ack(1))
    log.publish(seen(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    assert subscription.take_quiet() == (1, ack(1))
    assert subscription.take_quiet() == (2, seen(1))
    assert subscription.take_quiet() is None
    log.publish(ack(2))
    log.publish(StreamEnded("over"))
    assert await waiting == (3, ack(2))
    assert await anext(subscription) == (4, StreamEnded("over"))
