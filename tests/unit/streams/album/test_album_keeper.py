import asyncio
import math
from collections.abc import AsyncIterator, Sequence

import pytest

from onlooker.cache_store.album import NewPicture
from onlooker.cache_store.albums.sqlite_album import SqliteAlbum
from onlooker.cache_store.config import AlbumSection
from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.streams.album import album_keeper
from onlooker.streams.album.album_keeper import BATCH, AlbumKeeper
from tests.fakes.albums import make_budgets
from tests.fakes.pictures import make_clip
from tests.fakes.waiting import until

STREAM = StreamId("default/door")


class CountedAlbum(SqliteAlbum):
    """An album that knows how many pictures came at a time."""

    def __init__(self) -> None:
        super().__init__(None, budgets=make_budgets())
        self.batches: list[int] = []

    def add(self, pictures: Sequence[NewPicture]) -> None:
        self.batches.append(len(pictures))
        super().add(pictures)


@pytest.fixture
def album() -> CountedAlbum:
    return CountedAlbum()


@pytest.fixture
async def keeper(album: CountedAlbum) -> AsyncIterator[AlbumKeeper]:
    made = AlbumKeeper(album, settings=AlbumSection(), clock=SystemClock(), metrics=Metrics())
    yield made
    await made.close()


async def test_pictures_that_come_soon_after_each_other_are_written_together(
    keeper: AlbumKeeper, album: CountedAlbum
) -> None:
    for index in range(3):
        keeper.add(STREAM, make_clip(float(index), index=index), 0.0)
        await asyncio.sleep(0)
    await until(lambda: bool(album.batches))
    assert album.batches == [3]


async def test_who_asks_for_pictures_does_not_wait_for_others_to_come(
    keeper: AlbumKeeper, album: CountedAlbum, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(album_keeper, "GATHER_S", 3600.0)
    keeper.add(STREAM, make_clip(), 0.0)
    async with asyncio.timeout(10):
        found = await keeper.facts(STREAM, -math.inf, math.inf, limit=9)
    assert [one.clip_index for one in found] == [0]


async def test_as_many_pictures_as_are_written_at_once_wait_for_no_more(
    keeper: AlbumKeeper, album: CountedAlbum, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(album_keeper, "GATHER_S", 3600.0)
    for index in range(BATCH):
        keeper.add(STREAM, make_clip(float(index), index=index), 0.0)
    await until(lambda: album.batches == [BATCH])


async def test_what_still_waits_is_written_when_the_album_is_closed(
    album: CountedAlbum, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(album_keeper, "GATHER_S", 3600.0)
    keeper = AlbumKeeper(album, settings=AlbumSection(), clock=SystemClock(), metrics=Metrics())
    keeper.add(STREAM, make_clip(), 0.0)
    await keeper.close()
    assert album.batches == [1]


async def test_pictures_that_wait_to_be_written_are_deleted_with_the_others_and_counted(
    keeper: AlbumKeeper, album: CountedAlbum, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(BATCH):
        keeper.add(STREAM, make_clip(float(index), index=index), 0.0)
    await until(lambda: bool(album.batches))
    monkeypatch.setattr(album_keeper, "GATHER_S", 3600.0)
    for index in range(BATCH, BATCH + 3):
        keeper.add(STREAM, make_clip(float(index), index=index), 0.0)
    assert await keeper.forget(STREAM, BATCH - 2.0, BATCH + 1.0) == 4
    left = await keeper.facts(STREAM, -math.inf, math.inf, limit=99)
    assert [one.clip_index for one in left] == [*range(BATCH - 2), BATCH + 2]
