"""Responses are kept within bounds, each for its tenant."""

import pytest

from onlooker.core.errors import NotFound
from onlooker.core.metrics import Metrics
from onlooker.core.protocol.openai_responses import ResponsesReply
from onlooker.server.stored_responses import StoredResponse, StoredResponses
from onlooker.server.transcript import Line


def stored(response_id: str, *, num_bytes: int = 0) -> StoredResponse:
    reply = ResponsesReply(id=response_id, created_at=0.0, status="completed", model="m")
    return StoredResponse(reply, (Line(role="user", text="x" * num_bytes),))


def shelf(*, max_responses: int = 10, max_bytes: int = 1 << 20) -> StoredResponses:
    return StoredResponses(max_responses=max_responses, max_bytes=max_bytes, metrics=Metrics())


def test_the_oldest_go_when_there_are_too_many() -> None:
    kept = shelf(max_responses=2)
    for name in "abc":
        kept.keep("t", stored(name))
    assert len(kept) == 2
    assert kept.get("t", "c").reply.id == "c"
    with pytest.raises(NotFound):
        kept.get("t", "a")


def test_the_oldest_go_when_they_are_too_large() -> None:
    kept = shelf(max_bytes=30_000)
    for name in "abc":
        kept.keep("t", stored(name, num_bytes=8_000))
    assert len(kept) == 2


def test_one_that_is_too_large_for_all_the_room_takes_none_of_it() -> None:
    kept = shelf(max_bytes=30_000)
    kept.keep("t", stored("a"))
    kept.keep("t", stored("b", num_bytes=40_000))
    assert len(kept) == 1
    assert kept.get("t", "a").reply.id == "a"


def test_none_are_kept_where_there_is_no_room() -> None:
    kept = shelf(max_responses=0)
    kept.keep("t", stored("a"))
    assert len(kept) == 0


def test_room_comes_back_when_one_is_deleted() -> None:
    kept = shelf(max_bytes=30_000)
    kept.keep("t", stored("a", num_bytes=20_000))
    with pytest.raises(NotFound):
        kept.delete("other", "a")
    kept.delete("t", "a")
    for name in "bc":
        kept.keep("t", stored(name, num_bytes=8_000))
    assert len(kept) == 2
