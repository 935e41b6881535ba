"""Event streams are cut behind events, whatever pieces they come in."""

from collections.abc import AsyncIterator

import pytest

from onlooker.server.relay.call import _whole_events

TEXT = b"event: one\ndata: 1\n\nevent: two\ndata: 2\n\n"


async def pieces_of(text: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


@pytest.mark.parametrize("size", [1, 3, 20, 100])
async def test_a_reader_gets_whole_events_only(size: int) -> None:
    got = [piece async for piece in _whole_events(pieces_of(TEXT, size), max_bytes=1000)]
    assert b"".join(got) == TEXT
    assert all(piece.endswith(b"\n\n") for piece in got)


async def test_of_an_event_over_the_limit_no_more_waits_than_that() -> None:
    got = [piece async for piece in _whole_events(pieces_of(b"x" * 100, 10), max_bytes=30)]
    assert b"".join(got) == b"x" * 100
    assert max(map(len, got)) <= 40
