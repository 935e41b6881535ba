import asyncio
import json
from typing import Any

import pytest

from onlooker.core.guarantee import Guarantee
from onlooker.core.protocol.answer_events import TextDelta
from onlooker.core.protocol.server_events import Pong, VideoAck
from onlooker.core.protocol.stream_objects import DroppedFrame, FrameTotals
from onlooker.server.realtime.outbox import Outbox, SlowReader, merge_acks


def make_outbox(**limits: Any) -> tuple[Outbox, list[str]]:
    overflows: list[str] = []
    defaults = {"max_events": 8, "max_bytes": 10_000, "max_listed_acks": 4}
    return Outbox(**{**defaults, **limits}, on_overflow=lambda: overflows.append("!")), overflows


def make_ack(slot: int = 0, **fields: Any) -> VideoAck:
    return VideoAck(slot=slot, stream="s", **fields)


async def drain(outbox: Outbox) -> list[dict[str, Any]]:
    outbox.close()
    events = []
    while (text := await outbox.get()) is not None:
        events.append(json.loads(text))
    return events


async def test_events_come_in_order_and_numbered() -> None:
    outbox, _ = make_outbox()
    outbox.put(Pong())
    outbox.put(TextDelta(response_id="r", item_id="i", delta="x"))
    events = await drain(outbox)
    assert [(e["type"], e["sequence_number"]) for e in events] == [
        ("pong", 1),
        ("response.output_text.delta", 2),
    ]
    assert len({e["event_id"] for e in events}) == 2


async def test_a_reader_that_waits_is_woken() -> None:
    outbox, _ = make_outbox()
    reading = asyncio.ensure_future(outbox.get())
    await asyncio.sleep(0)
    assert not reading.done()
    outbox.put(Pong())
    assert json.loads(await reading or "")["type"] == "pong"


async def test_waiting_acknowledgements_of_a_slot_become_one() -> None:
    outbox, _ = make_outbox()
    for sequence in range(3):
        outbox.put(make_ack(0, kept=[sequence], totals=FrameTotals(received=sequence + 1)))
        outbox.put(make_ack(1, skipped=[sequence]))
    assert len(outbox) == 2
    first, second = await drain(outbox)
    assert first["kept"] == [0, 1, 2]
    assert first["totals"]["received"] == 3
    assert second["skipped"] == [0, 1, 2]


async def test_an_acknowledgement_that_went_is_not_added_to() -> None:
    outbox, _ = make_outbox()
    outbox.put(make_ack(kept=[1]))
    assert json.loads(await outbox.get() or "")["kept"] == [1]
    outbox.put(make_ack(kept=[2]))
    assert (await drain(outbox))[0]["kept"] == [2]


def test_merged_acknowledgements_list_no_more_than_they_may() -> None:
    older = make_ack(kept=[1, 2], last_sequence=2)
    dropped = [DroppedFrame(sequence=n, reason="late") for n in (3, 4, 5)]
    newer = make_ack(kept=[6], dropped=dropped, omitted=2, last_sequence=6, lag_s=1.0)
    merge_acks(older, newer, max_listed=4)
    assert [d.sequence for d in older.dropped] == [3, 4]
    assert older.kept == [1, 2]
    assert older.omitted == 4
    assert (older.last_sequence, older.lag_s) == (6, 1.0)


@pytest.mark.parametrize(
    ("older", "newer", "merged"),
    [
        (Guarantee.MACHINE, Guarantee.NONE, Guarantee.NONE),
        (Guarantee.PROCESS, Guarantee.MACHINE, Guarantee.PROCESS),
        (None, Guarantee.SECOND, Guarantee.SECOND),
        (Guarantee.SECOND, None, Guarantee.SECOND),
        (None, None, None),
    ],
)
def test_merged_acknowledgements_promise_no_more_than_the_weaker_of_them(
    older: Guarantee | None, newer: Guarantee | None, merged: Guarantee | None
) -> None:
    first, second = make_ack(guarantee=older), make_ack(guarantee=newer)
    merge_acks(first, second, max_listed=4)
    assert first.guarantee == merged


@pytest.mark.parametrize("limit", [{"max_events": 3}, {"max_bytes": 1000}])
async def test_too_much_that_waits_empties_the_queue_and_ends_it(limit: dict[str, int]) -> None:
    outbox, overflows = make_outbox(**limit)
    for _ in range(10):
        outbox.put(Pong())
    assert overflows == ["!"]
    assert len(outbox) == 0
    with pytest.raises(SlowReader):
        await outbox.get()


async def test_long_texts_count_as_what_they_are() -> None:
    outbox, overflows = make_outbox(max_bytes=5000)
    outbox.put(TextDelta(response_id="r", item_id="i", delta="x" * 6000))
    assert overflows == ["!"]


async def test_nothing_is_taken_after_the_end() -> None:
    outbox, _ = make_outbox()
    outbox.close()
    outbox.put(Pong())
    assert await outbox.get() is None


async def test_who_is_told_of_what_arrives_takes_it_without_waking_anybody() -> None:
    arrivals: list[str] = []
    outbox, _ = make_outbox(on_arrival=lambda: arrivals.append("!"))
    reading = asyncio.ensure_future(outbox.get())
    await asyncio.sleep(0)
    outbox.put(Pong())
    outbox.put(Pong())
    await asyncio.sleep(0)
    assert (len(arrivals), reading.done()) == (1, False)
    assert json.loads(outbox.take() or "")["sequence_number"] == 1
    outbox.wake()
    assert json.loads(await reading or "")["sequence_number"] == 2
    assert outbox.take() is None
