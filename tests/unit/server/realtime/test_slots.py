from types import SimpleNamespace
from typing import cast

from onlooker.core.media import DropReason, FrameOutcome
from onlooker.core.metrics import Metrics
from onlooker.server.stream_events import AckBatch, AckMode
from onlooker.streams.events import FrameAck
from onlooker.streams.ingest.tally import Tally
from onlooker.streams.stream import Stream


class CountingStream:
    """As much of a stream as an acknowledgement reads."""

    id = name = "s"

    def __init__(self) -> None:
        tally = Tally(Metrics(), lambda event: None, seen_until_s=1.5)
        tally.received, tally.kept, tally.skipped = 9, 4, 3
        tally.dropped = {DropReason.LATE: 2}
        tally.clips, tally.lag_s = 1, 0.5
        self.ingest = SimpleNamespace(tally=tally)


STREAM = cast(Stream, CountingStream())


def fill(batch: AckBatch, *, mode: AckMode = "all") -> None:
    batch.add(FrameAck(1, FrameOutcome.KEPT, None, 0.0), mode=mode)
    batch.add(FrameAck(2, FrameOutcome.SKIPPED, None, 0.1), mode=mode)
    batch.add(FrameAck(3, FrameOutcome.DROPPED, DropReason.LATE, 0.2), mode=mode)


def test_outcomes_are_listed_with_the_totals() -> None:
    batch = AckBatch(max_listed=10)
    fill(batch)
    ack = batch.take(2, STREAM)
    assert (ack.slot, ack.kept, ack.skipped) == (2, [1], [2])
    assert [(d.sequence, d.reason) for d in ack.dropped] == [(3, "late")]
    assert ack.totals.dropped == {"late": 2}
    assert (ack.seen_until_s, ack.lag_s, ack.last_sequence) == (1.5, 0.5, 3)


def test_taking_begins_anew() -> None:
    batch = AckBatch(max_listed=10)
    fill(batch)
    batch.take(0, STREAM)
    assert not batch.is_dirty
    assert batch.take(0, STREAM).kept == []


def test_a_mode_lists_less_and_still_tells_the_totals() -> None:
    problems = AckBatch(max_listed=10)
    fill(problems, mode="problems")
    ack = problems.take(0, STREAM)
    assert (ack.kept, ack.skipped, len(ack.dropped)) == ([], [], 1)
    assert ack.last_sequence == 3


def test_no_more_is_listed_than_may_be() -> None:
    batch = AckBatch(max_listed=2)
    for _ in range(4):
        fill(batch)
    ack = batch.take(0, STREAM)
    assert len(ack.kept) + len(ack.skipped) + len(ack.dropped) == 2
    assert ack.omitted == 10
