import asyncio

from onlooker.core.guarantee import Guarantee
from onlooker.core.media import DropReason, FrameOutcome
from onlooker.core.metrics import Metrics
from onlooker.streams.events import ClipLost, ClipSeen, FrameAck, StreamEvent
from onlooker.streams.ingest.mailbox import Entry
from onlooker.streams.ingest.tally import Tally
from tests.fakes.pictures import make_clip, make_message


def make_tally(seen_until_s: float | None = None) -> tuple[Tally, list[StreamEvent], Metrics]:
    events: list[StreamEvent] = []
    metrics = Metrics()
    return Tally(metrics, events.append, seen_until_s=seen_until_s), events, metrics


async def test_what_became_of_a_message_is_counted_told_and_answered() -> None:
    tally, events, metrics = make_tally()
    outcome: asyncio.Future[FrameAck] = asyncio.get_running_loop().create_future()
    tally.settle(
        Entry(make_message(1.5, sequence=7), outcome), FrameOutcome.KEPT, None, Guarantee.PROCESS
    )
    ack = FrameAck(7, FrameOutcome.KEPT, None, 1.5, Guarantee.PROCESS)
    assert (events, outcome.result(), tally.kept) == ([ack], ack, 1)
    labels = {"outcome": "kept", "reason": ""}
    assert metrics.registry.get_sample_value("onlooker_frames_total", labels) == 1


def test_only_frames_for_which_the_model_was_too_slow_count_as_behind() -> None:
    tally, _, _ = make_tally()
    for reason in DropReason:
        tally.settle(Entry(make_message()), FrameOutcome.DROPPED, reason)
    assert tally.num_behind == 2
    assert tally.dropped == dict.fromkeys(DropReason, 1)


def test_a_lost_clip_is_told_and_remembered_as_a_gap() -> None:
    tally, events, _ = make_tally(seen_until_s=2.0)
    tally.note_lost(make_clip(3.0, 3.5, index=4), "the engine said no")
    assert events == [ClipLost(4, 3.0, 3.5, "the engine said no")]
    assert (tally.clips, tally.clips_lost, tally.lost_until_s) == (0, 1, 3.5)
    assert tally.seen_until_s == 2.0


def test_a_restored_clip_moves_what_was_seen_forwards_only() -> None:
    tally, events, _ = make_tally(seen_until_s=2.0)
    tally.note_restored(make_clip(0.0, 0.5, index=0))
    assert tally.seen_until_s == 2.0
    tally.note_restored(make_clip(2.0, 2.5, index=2))
    assert tally.seen_until_s == 2.5
    assert [event.clip_index for event in events if isinstance(event, ClipSeen)] == [0, 2]
