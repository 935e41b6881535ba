"""What every diary keeps, wherever its entries are: in memory, in a file, in Redis."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from onlooker.cache_store.diaries.redis_diary import RedisDiary
from onlooker.cache_store.diaries.sqlite_diary import FILE, SqliteDiary
from onlooker.cache_store.diary import Diary, DiaryUnreachable, Level
from onlooker.cache_store.fence import fence_name
from tests.contract.redis_server import RedisServer
from tests.fakes.albums import make_budgets
from tests.fakes.diaries import STREAM, fill, make_entry, query, times

OpenDiary = Callable[..., Diary]


def open_redis(redis: RedisServer, **limits: int) -> RedisDiary:
    return RedisDiary(
        redis.url, namespace="onlooker:1", budgets=make_budgets(**limits), timeout_s=5.0
    )


@pytest.fixture(params=["memory", "file", pytest.param("redis", marks=pytest.mark.redis)])
def open_diary(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenDiary]:
    with ExitStack() as stack:

        def make(**limits: int) -> Diary:
            diary: Diary
            if request.param == "redis":
                diary = open_redis(request.getfixturevalue("redis_clean"), **limits)
            else:
                root = tmp_path if request.param == "file" else None
                diary = SqliteDiary(root, make_budgets(**limits))
            stack.callback(diary.close)
            return diary

        yield make


def test_entries_come_back_as_they_were_and_in_order_of_time(open_diary: OpenDiary) -> None:
    diary = open_diary()
    later, earlier = make_entry(2.5, "Later, ein Hund."), make_entry(1.0, "Earlier.")
    fill(diary, later, earlier)
    assert diary.find(STREAM, query()) == [earlier, later]
    assert times(diary, newest_first=True, limit=1) == [2.5]
    assert times(diary, start_s=1.0, end_s=2.4) == [1.0]


def test_a_level_can_be_read_alone(open_diary: OpenDiary) -> None:
    diary = open_diary()
    fill(diary, make_entry(1.0), make_entry(1.0, level=Level.HOUR), make_entry(2.0))
    assert times(diary, levels=(Level.HOUR,)) == [1.0]
    assert [one.level for one in diary.find(STREAM, query())] == ["scene", "hour", "scene"]


def test_words_are_found_in_any_form_and_order(open_diary: OpenDiary) -> None:
    diary = open_diary()
    fill(diary, make_entry(1.0, "A red circle appeared."), make_entry(2.0, "The blue star left."))
    assert times(diary, words="circle RED appears") == [1.0]
    assert times(diary, words="red star") == []
    assert times(diary, words="the") == []


def test_a_search_is_words_and_no_language(open_diary: OpenDiary) -> None:
    diary = open_diary()
    fill(diary, make_entry(1.0, 'A "red" circle OR a star NEAR it.'))
    for words in ('red" OR "blue', "red*", "stems:red", "(red", "-red", "re'd"):
        assert times(diary, words=words) in ([], [1.0])
    assert times(diary, words='red" near') == [1.0]


def test_what_is_written_again_takes_the_place_of_what_was(open_diary: OpenDiary) -> None:
    diary = open_diary()
    fill(diary, make_entry(1.0, "Old words."), make_entry(1.0, "New words."))
    assert [entry.text for entry in diary.find(STREAM, query())] == ["New words."]
    assert (times(diary, words="old"), diary.stats().num_entries) == ([], 1)


def test_the_oldest_sentences_go_first_and_summaries_last(open_diary: OpenDiary) -> None:
    diary = open_diary(max_bytes=40_000)
    fill(diary, make_entry(0.0, "The first hour.", level=Level.HOUR, length_s=3600.0))
    for start in range(0, 400, 50):
        fill(diary, *(make_entry(float(second)) for second in range(start, start + 50)))
    left, stats = times(diary, levels=(Level.SCENE,)), diary.stats()
    assert left == [float(second) for second in range(400 - len(left), 400)]
    assert 40 < len(left) < 150
    assert times(diary, levels=(Level.HOUR,)) == [0.0]
    assert stats.num_bytes <= 40_000
    assert stats.num_entries + stats.thinned == 401


def test_one_stream_does_not_push_out_those_of_another_tenant(open_diary: OpenDiary) -> None:
    diary = open_diary(max_bytes=40_000)
    fill(diary, *(make_entry(float(second)) for second in range(10)), stream="quiet/door")
    fill(diary, *(make_entry(float(second)) for second in range(500)), stream="loud/street")
    assert times(diary, "quiet/door") == [float(second) for second in range(10)]


def test_diaries_of_too_many_streams_are_refused_and_counted(open_diary: OpenDiary) -> None:
    diary = open_diary(max_streams=1)
    fill(diary, make_entry(0.0))
    fill(diary, make_entry(0.0), stream="default/street")
    assert (times(diary, "default/street"), diary.stats().refused) == ([], 1)


def test_a_span_is_deleted_with_all_that_tells_of_it(open_diary: OpenDiary) -> None:
    diary = open_diary()
    fill(diary, *(make_entry(float(second)) for second in range(6)))
    fill(diary, make_entry(0.0, level=Level.QUARTER, length_s=5.5))
    fill(diary, make_entry(900.0, level=Level.QUARTER, length_s=5.5))
    assert diary.forget(STREAM, 1.2, 3.0) == 4
    assert times(diary, levels=(Level.SCENE,)) == [0.0, 4.0, 5.0]
    assert times(diary, levels=(Level.QUARTER,)) == [900.0]


def test_what_is_older_than_wanted_goes_from_all_streams(open_diary: OpenDiary) -> None:
    diary = open_diary()
    fill(diary, make_entry(0.0, wall_s=10.0), make_entry(1.0, wall_s=20.0))
    fill(diary, make_entry(0.0, wall_s=10.0), stream="default/street")
    diary.sweep(15.0)
    assert (times(diary), times(diary, "default/street")) == ([1.0], [])
    assert diary.stats().aged == 2


def test_a_deleted_stream_leaves_nothing(open_diary: OpenDiary) -> None:
    diary = open_diary()
    fill(diary, make_entry(0.0), make_entry(1.0, level=Level.DAY))
    diary.delete(STREAM)
    stats = diary.stats()
    assert (times(diary), stats.num_entries, stats.num_bytes, stats.num_streams) == ([], 0, 0, 0)


def test_a_diary_survives_a_restart(tmp_path: Path) -> None:
    first = SqliteDiary(tmp_path, make_budgets())
    fill(first, make_entry(1.0, "A parcel was left."))
    first.close()
    again = SqliteDiary(tmp_path, make_budgets())
    assert times(again, words="parcel") == [1.0]
    assert again.stats().num_entries == 1
    again.close()


def test_nothing_of_a_deleted_span_is_left_in_the_file(tmp_path: Path) -> None:
    diary = SqliteDiary(tmp_path, make_budgets())
    fill(diary, *(make_entry(float(second), f"A zebra{second} came.") for second in range(50)))
    diary.forget(STREAM, 10.0, 20.0)
    kept = b"".join(path.read_bytes() for path in tmp_path.glob(f"{FILE}*"))
    diary.close()
    assert b"zebra9" in kept
    assert b"zebra15" not in kept


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all" * 1000)
    diary = SqliteDiary(tmp_path, make_budgets())
    fill(diary, make_entry(1.0))
    assert times(diary) == [1.0]
    diary.close()


@pytest.mark.redis
def test_a_server_that_lost_a_stream_writes_nothing_more_of_it(redis_clean: RedisServer) -> None:
    diary = open_redis(redis_clean)
    redis_clean.client().hset(fence_name("onlooker:1", STREAM), "epoch", 7)
    fill(diary, make_entry(1.0), epoch=6)
    fill(diary, make_entry(2.0), epoch=7)
    assert (times(diary), diary.stats().refused) == ([2.0], 1)
    diary.close()


@pytest.mark.redis
def test_a_diary_whose_redis_is_away_says_so() -> None:
    diary = RedisDiary(
        "redis://127.0.0.1:1", namespace="onlooker:1", budgets=make_budgets(), timeout_s=0.2
    )
    fill(diary, make_entry(1.0))
    assert diary.stats().errors == 1
    with pytest.raises(DiaryUnreachable):
        times(diary)
    diary.close()
