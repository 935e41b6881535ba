"""Notices, on a real Redis: what servers say of themselves is heard for a short time."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from onlooker.cache_store.notices import NoticeBoard, NoticesUnreachable
from tests.contract.redis_server import RedisServer
from tests.fakes.waiting import limited

pytestmark = pytest.mark.redis

MakeBoard = Callable[..., NoticeBoard]


@pytest.fixture
async def make_board(redis_clean: RedisServer) -> AsyncIterator[MakeBoard]:
    async with AsyncExitStack() as stack:

        def make(server: str, *, lasts_s: float = 60.0, url: str = redis_clean.url) -> NoticeBoard:
            board = NoticeBoard(
                url, namespace="onlooker:1", server=server, lasts_s=lasts_s, timeout_s=5.0
            )
            stack.push_async_callback(board.close)
            return board

        yield make


async def test_what_each_says_last_is_heard_by_all(make_board: MakeBoard) -> None:
    a, b = make_board("a"), make_board("b")
    await a.put_up("early")
    await a.put_up("late")
    await b.put_up("here")
    heard = await b.read()
    assert [(one.server, one.text) for one in heard] == [("a", "late"), ("b", "here")]
    assert all(one.age_s < 60 for one in heard)


async def test_who_takes_its_notice_down_is_not_heard_of(make_board: MakeBoard) -> None:
    a, b = make_board("a"), make_board("b")
    await a.put_up("here")
    await a.take_down()
    assert await b.read() == []


async def test_a_server_that_says_nothing_more_is_forgotten(
    make_board: MakeBoard, redis_clean: RedisServer
) -> None:
    ghost, board = make_board("ghost", lasts_s=0.05), make_board("a")
    await ghost.put_up("here")
    async with limited("the notice to expire"):
        while await board.read():
            continue
    with redis_clean.client() as client:
        assert client.keys("*") == []


async def test_a_redis_that_is_away_is_told(make_board: MakeBoard) -> None:
    board = make_board("a", url="unix:///nowhere/redis.sock")
    with pytest.raises(NoticesUnreachable):
        await board.put_up("here")
    with pytest.raises(NoticesUnreachable):
        await board.read()
