"""The album in SQLite: order, budgets, deletion, restarts."""

import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onlooker.cache_store.album import AlbumPicture, PictureFacts
from onlooker.cache_store.albums.sqlite_album import FILE, ROW_BYTES, SqliteAlbum
from onlooker.cache_store.errors import StoreLocked

STREAM = "default/door"
SIZE = 1000


def open_album(root: Path | None = None, **limits: int) -> SqliteAlbum:
    given_limits = {
        "max_bytes": 1 << 30,
        "max_tenant_bytes": 1 << 30,
        "max_stream_bytes": 1 << 30,
        "max_streams": 100,
    }
    return SqliteAlbum(root, **{**given_limits, **limits})


def make_picture(
    clip_index: int,
    *,
    start_s: float | None = None,
    change: float = 0.5,
    wall_s: float = 0.0,
    data: bytes = b"x" * SIZE,
) -> AlbumPicture:
    start_s = float(clip_index) if start_s is None else start_s
    facts = PictureFacts(
        clip_index=clip_index,
        start_s=start_s,
        end_s=start_s + 0.5,
        wall_s=wall_s,
        width=8,
        height=6,
        media_type="image/jpeg",
        change=change,
        num_bytes=len(data),
    )
    return AlbumPicture(facts=facts, data=data)


def clips(album: SqliteAlbum, stream: str = STREAM) -> list[int]:
    found = album.facts(stream, -math.inf, math.inf, limit=100_000)
    return [facts.clip_index for facts in found]


def fill(album: SqliteAlbum, *pictures: AlbumPicture, stream: str = STREAM) -> None:
    for picture in pictures:
        album.add([(stream, picture)])


def test_pictures_come_back_as_they_were_and_in_order_of_time() -> None:
    album = open_album()
    fill(album, make_picture(2, data=b"two"), make_picture(1, data=b"one"))
    assert clips(album) == [1, 2]
    assert album.read(STREAM, [2, 7, 1]) == [
        make_picture(2, data=b"two"),
        make_picture(1, data=b"one"),
    ]
    newest = album.facts(STREAM, -math.inf, 1.9, limit=1, newest_first=True)
    assert [facts.clip_index for facts in newest] == [1]


def test_a_clip_that_is_shown_again_has_one_picture() -> None:
    album = open_album()
    fill(album, make_picture(1, data=b"old"), make_picture(1, data=b"new"))
    assert album.read(STREAM, [1]) == [make_picture(1, data=b"new")]
    assert album.stats().num_bytes == len(b"new") + ROW_BYTES


def test_a_full_album_keeps_what_happened_and_what_is_new() -> None:
    room = 1200 * (SIZE + ROW_BYTES)
    album = open_album(max_stream_bytes=room)
    events = range(0, 8000, 100)
    for start in range(0, 8000, 50):  # two hours, a clip a second
        batch = [
            (STREAM, make_picture(index, change=0.9 if index in events else 0.01))
            for index in range(start, start + 50)
        ]
        album.add(batch)
    stats = album.stats()
    assert stats.num_bytes <= room
    assert stats.num_bytes > 0.5 * room
    kept = clips(album)
    assert set(events) <= set(kept)
    old, new = (sum(low <= index < low + 900 for index in kept) for low in (0, 6300))
    assert new > 2 * old
    assert stats.num_pictures + stats.thinned == 8000


def test_one_stream_does_not_push_out_those_of_another_tenant() -> None:
    album = open_album(max_bytes=40 * (SIZE + ROW_BYTES))
    fill(album, *(make_picture(index) for index in range(10)), stream="quiet/door")
    fill(album, *(make_picture(index) for index in range(500)), stream="loud/street")
    assert clips(album, "quiet/door") == list(range(10))


def test_a_tenant_has_a_budget_of_its_own() -> None:
    album = open_album(max_tenant_bytes=20 * (SIZE + ROW_BYTES))
    for name in ("one", "two", "three"):
        fill(album, *(make_picture(index) for index in range(15)), stream=f"loud/{name}")
    assert album.stats().num_pictures <= 20


def test_pictures_of_too_many_streams_are_refused_and_counted() -> None:
    album = open_album(max_streams=1)
    fill(album, make_picture(0))
    fill(album, make_picture(0), stream="default/street")
    assert (clips(album, "default/street"), album.stats().refused) == ([], 1)


def test_a_span_is_deleted_with_every_clip_that_touches_it() -> None:
    album = open_album()
    fill(album, *(make_picture(index) for index in range(6)))
    assert album.forget(STREAM, 1.2, 3.0, [5]) == 4
    assert clips(album) == [0, 4]
    assert album.stats().num_bytes == 2 * (SIZE + ROW_BYTES)


def test_nothing_of_a_deleted_picture_is_left_in_the_files(tmp_path: Path) -> None:
    album = open_album(tmp_path)
    secret = b"SECRET" * 200
    fill(album, make_picture(0, data=secret), make_picture(1), make_picture(2, data=secret))
    album.forget(STREAM, 0.0, 0.1)
    album.forget(STREAM, 2.0, 2.1)
    on_disk = b"".join(path.read_bytes() for path in tmp_path.glob(f"{FILE}*"))
    assert b"SECRET" not in on_disk
    assert b"x" * SIZE in on_disk
    album.close()


def test_what_is_older_than_wanted_goes_from_all_streams() -> None:
    album = open_album()
    fill(album, make_picture(0, wall_s=10.0), make_picture(1, wall_s=20.0))
    fill(album, make_picture(0, wall_s=10.0), stream="default/street")
    album.sweep(15.0)
    assert (clips(album), clips(album, "default/street")) == ([1], [])
    assert album.stats().aged == 2


def test_an_album_is_found_again_with_what_was_thinned(tmp_path: Path) -> None:
    album = open_album(tmp_path)
    fill(album, *(make_picture(index) for index in range(3)))
    before = album.stats()
    album.close()
    album = open_album(tmp_path)
    assert clips(album) == [0, 1, 2]
    assert album.stats().num_bytes == before.num_bytes
    album.close()


def test_a_folder_that_another_process_uses_is_refused(tmp_path: Path) -> None:
    album = open_album(tmp_path)
    with pytest.raises(StoreLocked, match=r"cache_store\.album\.path"):
        open_album(tmp_path)
    album.close()


def test_a_damaged_file_is_put_aside_and_the_album_begins_anew(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    album = open_album(tmp_path)
    fill(album, make_picture(0))
    assert clips(album) == [0]
    assert (tmp_path / f"{FILE}.damaged").is_file()
    album.close()


def test_the_files_take_the_room_that_is_counted(tmp_path: Path) -> None:
    budget = 8 << 20
    album = open_album(tmp_path, max_bytes=budget)
    for index in range(3000):
        data = bytes([index % 251]) * (3000 + 997 * index % 9000)
        fill(album, make_picture(index, data=data))
    album.close()
    taken = (tmp_path / FILE).stat().st_size
    assert 0.5 * budget < taken < 1.02 * budget


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a/one", "a/two", "b/one"]), st.integers(0, 3000), st.floats(0, 1)
        ),
        max_size=60,
    ),
    st.integers(2, 30),
)
def test_no_budget_is_ever_exceeded(added: list[tuple[str, int, float]], room: int) -> None:
    unit = SIZE + ROW_BYTES
    album = open_album(
        max_bytes=room * unit,
        max_tenant_bytes=max(1, room * 2 // 3) * unit,
        max_stream_bytes=max(1, room // 2) * unit,
    )
    for stream, clip_index, change in added:
        fill(album, make_picture(clip_index, change=change), stream=stream)
        held = {one: len(clips(album, one)) for one in ("a/one", "a/two", "b/one")}
        assert max(held.values()) <= max(1, room // 2)
        assert held["a/one"] + held["a/two"] <= max(1, room * 2 // 3)
        assert sum(held.values()) <= room
        assert album.stats().num_bytes == sum(held.values()) * unit
    album.close()
