"""Segments come up from the store below while steps go on."""

import threading
from collections.abc import Iterator, Sequence

import pytest
import torch

from onlooker.engine.vllm_adapter.wire import FetchOp
from onlooker.engine.vllm_adapter.worker.arena import Segment, SegmentArena
from onlooker.engine.vllm_adapter.worker.fetcher import Fetcher
from tests.fakes.waiting import in_time


def segment() -> Segment:
    kv = torch.ones(1, 2, 1, 4)
    return Segment(kv, kv, 0, None)


class Shelf:
    """A store that is read when the test lets it; key "gone" is not there."""

    def __init__(self) -> None:
        self.may_read = threading.Event()
        self.asked: list[list[str]] = []

    def load(self, keys: Sequence[str]) -> dict[str, tuple[Segment, str]]:
        self.asked.append(list(keys))
        assert self.may_read.wait(30)
        return {key: (segment(), "disk") for key in keys if key != "gone"}

    def forget(self, keys: Sequence[str]) -> None:
        """Nothing is kept."""


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shelf = Shelf()
    yield shelf
    shelf.may_read.set()


def room_for(num_segments: int, shelf: Shelf) -> SegmentArena:
    arena = SegmentArena(budget_bytes=num_segments * segment().num_bytes, backing=shelf)
    arena.put("near", segment())
    return arena


def fetch(fetcher: Fetcher, *keys: str, request_id: str = "q") -> None:
    fetcher.begin([FetchOp(request_id, list(keys), False)])


def until_taken(fetcher: Fetcher) -> list[str]:
    found: list[str] = []

    def take() -> bool:
        found.extend(fetcher.take())
        return bool(found)

    def wait() -> None:
        while not take():
            pass

    in_time("the fetch", wait)
    return found


def test_nobody_waits_while_segments_are_read(shelf: Shelf) -> None:
    fetcher = Fetcher(room_for(9, shelf), shelf.load)
    fetch(fetcher, "near", "a")
    assert fetcher.take() == []


def test_what_was_read_is_held_and_what_is_held_is_not_read(shelf: Shelf) -> None:
    arena = room_for(9, shelf)
    fetcher = Fetcher(arena, shelf.load)
    shelf.may_read.set()
    fetch(fetcher, "near", "a", "gone")
    assert until_taken(fetcher) == ["q"]
    assert shelf.asked == [["a", "gone"]]
    assert arena.ready(["near", "a"]) is not None
    got = fetcher.collect("q")
    assert got is not None
    assert got.reads == {
        "near": ("device", segment().kv_bytes), "a": ("disk", segment().kv_bytes),
    }  # fmt: skip
    assert set(got.segments) == {"near", "a"}
    assert fetcher.collect("q") is None, "it is placed once"


def test_a_request_gets_what_was_fetched_for_it_however_full_the_arena_is(shelf: Shelf) -> None:
    arena = room_for(2, shelf)
    fetcher = Fetcher(arena, shelf.load)
    shelf.may_read.set()
    fetch(fetcher, "near", "a", "b", "c")
    until_taken(fetcher)
    assert len(arena) == 2, "else the test could not fail"
    got = fetcher.collect("q")
    assert got is not None
    assert set(got.segments) == {"near", "a", "b", "c"}


def test_what_was_fetched_for_a_request_that_ended_is_let_go_of(shelf: Shelf) -> None:
    fetcher = Fetcher(room_for(9, shelf), shelf.load)
    fetch(fetcher, "a")
    fetcher.drop(["q", "another"])
    shelf.may_read.set()
    assert fetcher.take() == []
    assert fetcher.collect("q") is None


def test_the_arena_tells_what_it_holds_since_it_was_asked(shelf: Shelf) -> None:
    arena = room_for(2, shelf)
    arena.put("b", segment())
    assert arena.take_changes() == {"near": True, "b": True}
    arena.put("c", segment())
    assert arena.take_changes() == {"near": False, "c": True}
    assert arena.take_changes() == {}
