"""A stream is restored in pieces, and nobody waits while it is read."""

import threading
from collections.abc import Iterator

import pytest
import torch

from onlooker.engine.vllm_adapter.wire import StoredSegment, StoredSegments
from onlooker.engine.vllm_adapter.worker.arena import SegmentArena
from onlooker.engine.vllm_adapter.worker.stored_streams import Rows, StoredStreams


class Shelf:
    """Stored segments, which are read when the test lets them."""

    def __init__(self, count: int) -> None:
        self.may_read = threading.Event()
        self.num_reads = 0
        entries = torch.ones(1, 1, 1, 4)
        self._rows = [
            (StoredSegment(f"s/clip/{number:010d}", 0.0, 1.0, {}), entries if number else None)
            for number in range(count)
        ]

    def rows(self, prefix: str) -> Rows:
        self.num_reads += 1
        assert self.may_read.wait(30)
        return self._rows, False


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shelf = Shelf(1200)
    yield shelf
    shelf.may_read.set()


def taken(streams: StoredStreams) -> list[StoredSegments]:
    """All pieces but empty ones, from the first on."""
    pieces = [streams.next("s/", is_first=True)]
    while not pieces[-1].is_done:
        pieces.append(streams.next("s/", is_first=False))
    return [piece for piece in pieces if piece.segments]


def test_nobody_waits_while_a_stream_is_read(shelf: Shelf) -> None:
    streams = StoredStreams(shelf.rows, SegmentArena())
    piece = streams.next("s/", is_first=True)
    assert (piece.segments, piece.is_done) == ([], False)


def test_a_stream_comes_back_in_pieces(shelf: Shelf) -> None:
    arena = SegmentArena()
    shelf.may_read.set()
    pieces = taken(StoredStreams(shelf.rows, arena))
    assert [len(piece.segments) for piece in pieces] == [512, 512, 176]
    assert not any(piece.is_complete for piece in pieces)
    assert len(arena.index) == 1199  # one has entries of another score


def test_who_is_done_waits_for_the_other_workers_without_reading_anew(shelf: Shelf) -> None:
    streams = StoredStreams(shelf.rows, SegmentArena())
    shelf.may_read.set()
    taken(streams)
    piece = streams.next("s/", is_first=False)
    assert (piece.segments, piece.is_done, shelf.num_reads) == ([], True, 1)


def test_a_stream_that_is_opened_again_is_read_again(shelf: Shelf) -> None:
    streams = StoredStreams(shelf.rows, SegmentArena())
    shelf.may_read.set()
    for _ in range(2):
        assert sum(len(piece.segments) for piece in taken(streams)) == 1200
    assert shelf.num_reads == 2
