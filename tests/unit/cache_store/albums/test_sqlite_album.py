"""The album in SQLite: order, budgets, deletion, restarts."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onlooker.cache_store.album import NewPicture
from onlooker.cache_store.albums.sqlite_album import FILE, ROW_BYTES, SqliteAlbum
from onlooker.cache_store.errors import StoreLocked
from tests.fakes.albums import SIZE, STREAM, clips, fill, make_budgets, make_picture


def open_album(root: Path | None = None, **limits: int) -> SqliteAlbum:
    return SqliteAlbum(root, make_budgets(**limits))


def test_a_full_album_keeps_what_happened_and_what_is_new() -> None:
    room = 1200 * (SIZE + ROW_BYTES)
    album = open_album(max_stream_bytes=room)
    events = range(0, 8000, 100)
    for start in range(0, 8000, 50):  # two hours, a clip a second
        batch = [
            NewPicture(
                stream=STREAM,
                picture=make_picture(index, change=0.9 if index in events else 0.01),
            )
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
