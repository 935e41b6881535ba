"""What every `StreamDrawer` promises of a document that several write: on files and on Redis."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from onlooker.cache_store.redis_drawer import RedisDrawer
from onlooker.core.drawer import StreamDrawer
from onlooker.core.file_drawer import FileDrawer
from onlooker.core.ids import tenant_stream_id
from tests.contract.redis_server import RedisServer

SHELF = tenant_stream_id("acme", "_orders")
NAME = "orders/one"


@pytest.fixture(params=["files", pytest.param("redis", marks=pytest.mark.redis)])
async def drawer(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StreamDrawer]:
    made: StreamDrawer
    if request.param == "files":
        made = FileDrawer(tmp_path, folders=["orders"], max_streams=9)
    else:
        redis: RedisServer = request.getfixturevalue("redis_clean")
        made = RedisDrawer(redis.url, namespace="drawers", max_streams=9, timeout_s=5.0)
    yield made
    await made.close()


async def test_a_document_is_exchanged_only_where_it_is_as_it_was_read(
    drawer: StreamDrawer,
) -> None:
    assert await drawer.exchange(SHELF, NAME, before=b"", after=b"1")
    assert not await drawer.exchange(SHELF, NAME, before=b"", after=b"2")
    assert await drawer.exchange(SHELF, NAME, before=b"1", after=b"3")
    assert await drawer.read(SHELF) == {NAME: b"3"}


async def test_a_document_is_deleted_only_where_it_is_as_it_was_read(drawer: StreamDrawer) -> None:
    await drawer.write(SHELF, {NAME: b"1"}, epoch=0)
    assert not await drawer.exchange(SHELF, NAME, before=b"2", after=b"")
    assert await drawer.exchange(SHELF, NAME, before=b"1", after=b"")
    assert await drawer.read(SHELF) == {}
    assert not await drawer.exchange(SHELF, NAME, before=b"1", after=b"2")


@pytest.mark.parametrize("after", [b"2", b""])
async def test_an_exchange_that_is_tried_again_since_its_reply_was_lost_is_done(
    drawer: StreamDrawer, after: bytes
) -> None:
    await drawer.write(SHELF, {NAME: b"1"}, epoch=0)
    for _ in range(2):
        assert await drawer.exchange(SHELF, NAME, before=b"1", after=after)


async def test_of_exchanges_at_once_one_is_done(drawer: StreamDrawer) -> None:
    tries = [drawer.exchange(SHELF, NAME, before=b"", after=b"%d" % one) for one in range(5)]
    assert sorted(await asyncio.gather(*tries)) == [False] * 4 + [True]
