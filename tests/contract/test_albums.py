"""What every album keeps, wherever its pictures are: in memory, in a file, in Redis."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from onlooker.cache_store.album import Album, AlbumUnreachable, NewPicture
from onlooker.cache_store.albums.redis_album import PICTURE_BYTES, RedisAlbum
from onlooker.cache_store.albums.sqlite_album import ROW_BYTES, SqliteAlbum
from onlooker.cache_store.fence import fence_name
from tests.contract.redis_server import RedisServer
from tests.fakes.albums import SIZE, STREAM, clips, fill, make_budgets, make_picture

OpenAlbum = Callable[..., Album]
UNIT = SIZE + max(ROW_BYTES, PICTURE_BYTES)
"""Room for one picture, wherever it is."""


def open_redis(redis: RedisServer, **limits: int) -> RedisAlbum:
    return RedisAlbum(
        redis.url, namespace="onlooker:1", budgets=make_budgets(**limits), timeout_s=5.0
    )


@pytest.fixture(params=["memory", "file", pytest.param("redis", marks=pytest.mark.redis)])
def open_album(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenAlbum]:
    with ExitStack() as stack:

        def make(**limits: int) -> Album:
            album: Album
            if request.param == "redis":
                album = open_redis(request.getfixturevalue("redis_clean"), **limits)
            else:
                root = tmp_path if request.param == "file" else None
                album = SqliteAlbum(root, make_budgets(**limits))
            stack.callback(album.close)
            return album

        yield make


def test_pictures_come_back_as_they_were_and_in_order_of_time(open_album: OpenAlbum) -> None:
    album = open_album()
    fill(album, make_picture(2, data=b"two"), make_picture(1, data=b"one"))
    assert clips(album) == [1, 2]
    assert album.read(STREAM, [2, 7, 1]) == [
        make_picture(2, data=b"two"),
        make_picture(1, data=b"one"),
    ]
    newest = album.facts(STREAM, -math.inf, 1.9, limit=1, newest_first=True)
    assert [facts.clip_index for facts in newest] == [1]


def test_a_clip_that_is_shown_again_has_one_picture(open_album: OpenAlbum) -> None:
    album = open_album()
    fill(album, make_picture(1, data=b"old"), make_picture(1, data=b"new"))
    assert album.read(STREAM, [1]) == [make_picture(1, data=b"new")]
    assert album.stats().num_pictures == 1


def test_one_stream_does_not_push_out_those_of_another_tenant(open_album: OpenAlbum) -> None:
    album = open_album(max_bytes=40 * UNIT)
    fill(album, *(make_picture(index) for index in range(10)), stream="quiet/door")
    fill(album, *(make_picture(index) for index in range(500)), stream="loud/street")
    assert clips(album, "quiet/door") == list(range(10))


def test_a_tenant_has_a_budget_of_its_own(open_album: OpenAlbum) -> None:
    album = open_album(max_tenant_bytes=20 * UNIT)
    for name in ("one", "two", "three"):
        fill(album, *(make_picture(index) for index in range(15)), stream=f"loud/{name}")
    assert album.stats().num_pictures <= 20 * UNIT // (SIZE + min(ROW_BYTES, PICTURE_BYTES))


def test_pictures_of_too_many_streams_are_refused_and_counted(open_album: OpenAlbum) -> None:
    album = open_album(max_streams=1)
    fill(album, make_picture(0))
    fill(album, make_picture(0), stream="default/street")
    assert (clips(album, "default/street"), album.stats().refused) == ([], 1)


def test_a_span_is_deleted_with_every_clip_that_touches_it(open_album: OpenAlbum) -> None:
    album = open_album()
    fill(album, *(make_picture(index) for index in range(6)))
    assert album.forget(STREAM, 1.2, 3.0, [5]) == 4
    assert clips(album) == [0, 4]
    assert album.stats().num_pictures == 2


def test_what_is_older_than_wanted_goes_from_all_streams(open_album: OpenAlbum) -> None:
    album = open_album()
    fill(album, make_picture(0, wall_s=10.0), make_picture(1, wall_s=20.0))
    fill(album, make_picture(0, wall_s=10.0), stream="default/street")
    album.sweep(15.0)
    assert (clips(album), clips(album, "default/street")) == ([1], [])
    assert album.stats().aged == 2


def test_many_pictures_are_taken_and_thinned_at_once(open_album: OpenAlbum) -> None:
    album = open_album(max_bytes=50 * UNIT)
    for start in range(0, 400, 40):
        album.add(
            [NewPicture(stream=STREAM, picture=make_picture(n)) for n in range(start, start + 40)]
        )
    stats = album.stats()
    assert 20 <= stats.num_pictures <= 50 * UNIT // (SIZE + min(ROW_BYTES, PICTURE_BYTES))
    assert stats.num_pictures + stats.thinned == 400
    assert len(clips(album)) == stats.num_pictures


def test_a_deleted_stream_leaves_nothing(open_album: OpenAlbum) -> None:
    album = open_album()
    fill(album, make_picture(0), make_picture(1))
    album.delete(STREAM)
    stats = album.stats()
    assert (clips(album), stats.num_pictures, stats.num_bytes, stats.num_streams) == ([], 0, 0, 0)


@pytest.mark.redis
def test_an_old_owner_neither_adds_nor_deletes_pictures(redis_clean: RedisServer) -> None:
    album, stream = open_redis(redis_clean), STREAM
    album.add([NewPicture(stream=stream, picture=make_picture(0), epoch=2)])
    redis_clean.client().hset(fence_name("onlooker:1", stream), "epoch", "3")
    album.add([NewPicture(stream=stream, picture=make_picture(1), epoch=2)])
    with pytest.raises(AlbumUnreachable, match="another server owns"):
        album.forget(stream, -math.inf, math.inf, epoch=2)
    assert (clips(album), album.stats().refused) == ([0], 1)
    album.close()


@pytest.mark.redis
def test_the_next_owner_finds_the_pictures(redis_clean: RedisServer) -> None:
    first, second = open_redis(redis_clean), open_redis(redis_clean)
    first.add([NewPicture(stream=STREAM, picture=make_picture(7, data=b"seen"), epoch=1)])
    first.close()
    assert second.read(STREAM, [7])[0].data == b"seen"
    second.close()


@pytest.mark.redis
def test_a_redis_that_is_away_is_told_and_costs_no_more_than_pictures(
    redis_clean: RedisServer,
) -> None:
    album = RedisAlbum(
        "redis://127.0.0.1:1/0", namespace="onlooker:1", budgets=make_budgets(), timeout_s=0.2
    )
    fill(album, make_picture(0))
    assert album.stats().errors == 1
    with pytest.raises(AlbumUnreachable):
        album.facts(STREAM, 0.0, 1.0, limit=1)
    album.close()
