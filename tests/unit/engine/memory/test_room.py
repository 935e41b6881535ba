"""For how many clips there is room."""

import math
from typing import Any

import pytest

from onlooker.core.errors import ConfigError
from onlooker.engine.memory.room import ClipRoom


def make_room(**changes: Any) -> ClipRoom:
    """A model of 8 billion parameters with clips of 72 tokens, in what is given by default."""
    sizes: dict[str, Any] = {
        "clip_tokens": 72,
        "clip_bytes": 15_925_248,
        "stored_bytes": 15_925_248,
        "index_row_bytes": 73_728,
        "arena_bytes": 2 * 2**30,
        "kept_bytes": 2 * 2**30,
        "index_bytes": 2**30,
    }
    return ClipRoom(**{**sizes, **changes})


def test_as_many_clips_are_remembered_as_fit_the_store_and_the_index() -> None:
    assert make_room().max_clips == make_room().max_held == 134
    assert make_room(kept_bytes=math.inf).max_clips == 14_563
    assert make_room(stored_bytes=2**40).max_clips == 1
    assert make_room(stored_bytes=15_925_248 // 3 * 2).max_clips == 134 * 3 // 2 + 1


def test_clips_of_any_size_share_the_store_by_their_tokens_and_the_index_by_their_number() -> None:
    room = make_room()
    assert room.max_tokens // room.clip_tokens == 134
    assert room.max_indexed == 14_563
    assert make_room(kept_bytes=math.inf).max_tokens == math.inf
    assert make_room(stored_bytes=2**40).max_tokens == 72


@pytest.mark.parametrize(
    ("kept_bytes", "told"),
    [
        (2 * 2**30, "2.2 minutes remembered (the store is full then)"),
        (60 * 2**30, "67.4 minutes remembered (the store is full then)"),
        (math.inf, "4.0 hours remembered (the index is full then)"),
    ],
)
def test_it_says_how_long_that_is_and_what_ends_it(kept_bytes: float, told: str) -> None:
    room = str(make_room(kept_bytes=kept_bytes))
    assert room == (
        "a clip of 72 tokens takes 15.9 MB: at a clip a second 2.2 minutes are held ready in "
        f"2.15 GB, and {told}, by an index of at most 1.07 GB"
    )


@pytest.mark.parametrize(
    ("clip_bytes", "told"), [(999, "999 B"), (1000, "1 kB"), (36_864, "36.9 kB")]
)
def test_small_clips_have_small_units(clip_bytes: int, told: str) -> None:
    room = make_room(clip_bytes=clip_bytes, stored_bytes=clip_bytes)
    assert f"takes {told}:" in str(room)


def test_a_clip_that_is_stored_without_what_is_held_beside_says_both() -> None:
    assert "takes 15.9 MB (10.6 MB stored):" in str(make_room(stored_bytes=10_616_832))


def test_what_holds_no_whole_context_is_refused_with_what_it_takes() -> None:
    make_room().check(134)
    with pytest.raises(ConfigError, match=r"500 clips of 15.9 MB .*arena_gib, which holds 134"):
        make_room().check(500)
    with pytest.raises(ConfigError, match=r"arena_gib, .*: set it to 7\.41"):
        make_room().check(500)
    with pytest.raises(ConfigError, match=r"index_gib, which holds 1: set it to 0\.0017 or"):
        make_room(index_bytes=100_000).check(24)


def test_what_it_says_to_set_is_enough() -> None:
    make_room(arena_bytes=7.4158 * 2**30).check(500)


def test_more_is_indexed_where_the_host_has_the_entries_of_older_clips() -> None:
    tiered = make_room(
        kept_bytes=math.inf, index_host_bytes=4 * 2**30, index_coarse_bytes=20_736
    )  # fmt: skip
    assert tiered.index.max_below == 2**29 // 20_736 == 25_890
    assert tiered.index.max_whole == (2**30 - 25_890 * 20_736) // 73_728 == 7_281
    assert tiered.max_clips == 25_890 + 7_281
    assert str(tiered).endswith(
        "9.2 hours remembered (the index is full then), by an index of at most 1.07 GB on the GPU, "
        "of which 2.0 hours lie whole there, and 7.2 hours in 1.91 GB of its host"
    )


def test_a_small_host_bounds_how_many_entries_go_there() -> None:
    room = make_room(index_host_bytes=73_728_000, index_coarse_bytes=20_736)
    assert room.index.max_below == 1000
    assert room.max_indexed == 1000 + (2**30 - 20_736_000) // 73_728


def test_nothing_goes_to_the_host_where_that_would_spare_little() -> None:
    room = make_room(index_host_bytes=2**32, index_coarse_bytes=40_000)
    assert (room.index.max_below, room.max_indexed) == (0, 14_563)
