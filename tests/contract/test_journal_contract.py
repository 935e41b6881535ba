"""What every journal promises, wherever it keeps its frames."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onlooker.cache_store.journal import FrameJournal
from onlooker.cache_store.journal_entry import HEADER_BYTES
from onlooker.core.guarantee import Guarantee
from onlooker.core.media import Codec
from tests.fakes.journals import (
    STREAM,
    append,
    entry_of,
    look_of,
    mark,
    open_in_file,
    open_in_redis,
    payload_of,
    replayed,
)

MakeJournal = Callable[..., FrameJournal]

FRAME_BYTES = HEADER_BYTES + 100


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeJournal]:
    """Opens a journal; the one that was opened before is closed, as by a server that ends."""
    redis = request.getfixturevalue("redis_clean") if request.param == "redis" else None
    opened: list[FrameJournal] = []

    def open_next(**settings: Any) -> FrameJournal:
        if opened:
            opened.pop().close()
        opened.append(
            open_in_file(tmp_path, **settings)
            if redis is None
            else open_in_redis(redis.url, **settings)
        )
        return opened[-1]

    yield open_next
    for journal in opened:
        journal.close()


def test_frames_that_are_not_durable_are_replayed_after_a_restart(make: MakeJournal) -> None:
    journal = make()
    positions = append(journal, *range(30))
    append(journal, 7, 8, stream="tenant-b/camera-1")
    mark(journal, positions[11])
    again = make()
    assert replayed(again) == list(range(12, 30))
    assert replayed(again, "tenant-b/camera-1") == [7, 8]
    assert replayed(again, "nobody") == []


def test_every_field_of_a_frame_comes_back(make: MakeJournal) -> None:
    journal = make()
    whole = entry_of(5, capture_s=2.25, codec=Codec.WEBP, payload=b"\x00\r\n\xff", is_last=True)
    (receipt, _) = journal.write([whole, look_of(5, 3.0)])
    first, look = make().replay(STREAM)
    assert first.position == receipt.position
    assert (first.sequence, first.capture_s, first.codec) == (5, 2.25, Codec.WEBP)
    assert (first.payload, first.is_last, first.is_look) == (b"\x00\r\n\xff", True, False)
    assert (look.sequence, look.capture_s, look.payload, look.is_look) == (5, 3.0, b"", True)


def test_positions_grow_and_are_not_given_twice_also_after_all_was_let_go_of(
    make: MakeJournal,
) -> None:
    journal = make()
    first = append(journal, 0, 1)
    mark(journal, first[-1])
    second = append(journal, 2)
    journal.delete(STREAM)
    third = append(journal, 3)
    assert first + second + third == sorted({*first, *second, *third})
    mark(journal, second[-1])  # which is late
    assert replayed(journal) == [3]


def test_marks_let_go_of_a_beginning_and_of_nothing_else(make: MakeJournal) -> None:
    journal = make()
    positions = append(journal, 0, 1, 2, 0, 1, 2)  # whoever appends may count anew
    append(journal, 1, stream="other")
    mark(journal, positions[2])
    assert replayed(journal) == [0, 1, 2]
    mark(journal, positions[1])
    assert replayed(journal) == [0, 1, 2]
    assert journal.newest_s(STREAM) == 1.0
    mark(journal, positions[-1])
    assert replayed(journal) == []
    assert journal.newest_s(STREAM) is None
    assert replayed(journal, "other") == [1]
    assert journal.stats().marked == 6


@pytest.mark.parametrize("max_bytes", [1, 100, 350, 10_000])
def test_a_long_replay_comes_in_parts(make: MakeJournal, max_bytes: int) -> None:
    journal = make()
    positions = append(journal, *range(30))
    mark(journal, positions[4])
    parts, after = [], -1
    while part := journal.replay(STREAM, after=after, max_bytes=max_bytes):
        assert len(part) == 1 or sum(len(entry.payload) for entry in part[:-1]) <= max_bytes
        parts += part
        after = part[-1].position
    assert [entry.sequence for entry in parts] == list(range(5, 30))


def test_a_full_journal_says_that_it_guarantees_nothing_and_throws_nothing_out(
    make: MakeJournal,
) -> None:
    journal = make(max_bytes=1 << 20)
    big = b"p" * (300 << 10)
    receipts = journal.write([entry_of(index, payload=big) for index in range(5)])
    assert [receipt.position is not None for receipt in receipts] == [True] * 3 + [False] * 2
    assert {receipt.guarantee for receipt in receipts[3:]} == {Guarantee.NONE}
    assert journal.stats().refused == 2
    assert [entry.sequence for entry in journal.replay(STREAM)] == [0, 1, 2]
    assert receipts[0].position is not None
    mark(journal, receipts[0].position)
    append(journal, 5)


def test_so_many_streams_have_frames_at_once(make: MakeJournal) -> None:
    journal = make(max_streams=2)
    append(journal, 0, stream="a")
    append(journal, 0, stream="b")
    assert journal.write([entry_of(0, "c")])[0].guarantee is Guarantee.NONE
    append(journal, 1, stream="a")
    journal.delete("a")
    append(journal, 0, stream="c")
    assert journal.streams() == ["b", "c"]


def test_what_is_held_is_counted(make: MakeJournal) -> None:
    journal = make()
    positions = append(journal, *range(4))
    append(journal, 1, stream="other")
    journal.write([look_of(3, 9.0)])
    stats = journal.stats()
    assert (stats.appended, stats.num_streams) == (5, 2)
    assert stats.num_bytes == 5 * FRAME_BYTES + HEADER_BYTES
    mark(journal, positions[1])
    assert journal.stats().num_bytes == 3 * FRAME_BYTES + HEADER_BYTES
    journal.delete(STREAM)
    assert journal.stats().num_bytes == FRAME_BYTES
    assert journal.stats().num_streams == 1


def test_looks_alone_make_no_stream_and_are_left_out_where_there_is_no_room(
    make: MakeJournal,
) -> None:
    journal = make(max_bytes=1 << 20)
    assert journal.write([look_of(0, 1.0)])[0].position is None
    assert journal.replay(STREAM) == []
    append(journal, 0, payload=b"p" * ((1 << 20) - HEADER_BYTES))
    journal.write([look_of(0, 1.0)])
    assert [entry.is_look for entry in journal.replay(STREAM)] == [False]
    assert journal.stats().refused == 0


def test_a_deleted_stream_is_gone_and_may_begin_anew(make: MakeJournal) -> None:
    journal = make()
    append(journal, *range(20))
    append(journal, 1, stream="tenant-a")
    journal.delete(STREAM)
    assert replayed(journal) == []
    assert journal.newest_s(STREAM) is None
    append(journal, 5)
    assert replayed(make()) == [5]


def test_a_span_of_time_is_forgotten_with_the_clips_that_touch_it(make: MakeJournal) -> None:
    journal = make()
    frames = [
        entry_of(index // 2, capture_s=float(index), payload=payload_of(index))
        for index in range(10)
    ]
    positions = [receipt.position for receipt in journal.write(frames)]
    assert positions[3] is not None
    mark(journal, positions[3])
    # Frame 4 is at the end of the span, and 5 belongs to the same clip; clip 4 is named.
    assert journal.forget(STREAM, 2.5, 4.0, (4,)) == (4, 4 * FRAME_BYTES)
    left = [entry.payload for entry in journal.replay(STREAM)]
    assert left == [payload_of(6), payload_of(7)]
    assert journal.stats().num_bytes == 2 * FRAME_BYTES
    again = make()
    assert [entry.sequence for entry in again.replay(STREAM)] == [3, 3]
    assert again.forget(STREAM, 0.0, 100.0) == (2, 2 * FRAME_BYTES)
    assert again.forget("nobody/here", 0.0, 9.0) == (0, 0)


@pytest.mark.parametrize("name", ["", "..", "a/../b", "/a", "a//b", "a/b/c/d/e", "a b", "@a"])
def test_names_that_could_mean_something_else_are_refused(make: MakeJournal, name: str) -> None:
    journal = make()
    with pytest.raises(ValueError, match="stream"):
        journal.write([entry_of(0), entry_of(0, name)])
    assert journal.streams() == []


def test_a_batch_is_of_any_streams_and_kinds_and_keeps_its_order(make: MakeJournal) -> None:
    journal = make()
    first = append(journal, 0)[0]
    receipts = journal.write(
        [entry_of(1), entry_of(0, "b"), entry_of(2), look_of(2, 8.0), entry_of(1, "b")]
    )
    assert [receipt.position is None for receipt in receipts] == [False, False, False, True, False]
    mark(journal, first)
    assert replayed(journal) == [1, 2, 2]
    assert replayed(journal, "b") == [0, 1]


def test_nothing_to_do_is_done(make: MakeJournal) -> None:
    journal = make()
    assert journal.write([]) == []
    mark(journal, 7, "nobody")
    journal.delete("nobody")
    assert journal.stats().marked == 0
