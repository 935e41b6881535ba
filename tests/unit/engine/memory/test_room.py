"""For how many clips there is room."""

import math
from typing import Any

import pytest

from onlooker.engine.memory.room import ClipRoom


def make_room(**changes: Any) -> ClipRoom:
    """A model of 8 billion parameters with clips of 72 tokens, in what is given by default."""
    sizes: dict[str, Any] = {
        "clip_tokens": 72,
        "clip_bytes": 15_925_248,
        "index_row_bytes": 73_728,
        "arena_bytes": 2 * 2**30,
        "kept_bytes": 2 * 2**30,
        "index_bytes": 2**30,
    }
    return ClipRoom(**{**sizes, **changes})


def test_as_many_clips_are_remembered_as_fit_the_store_and_the_index() -> None:
    assert make_room().max_clips == make_room().max_held == 134
    assert make_room(kept_bytes=math.inf).max_clips == 14_563
    assert make_room(clip_bytes=2**40).max_clips == 1


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
        f"2.15 GB, and {told}"
    )


@pytest.mark.parametrize(
    ("clip_bytes", "told"), [(999, "999 B"), (1000, "1 kB"), (36_864, "36.9 kB")]
)
def test_small_clips_have_small_units(clip_bytes: int, told: str) -> None:
    assert f"takes {told}:" in str(make_room(clip_bytes=clip_bytes))


def test_an_arena_that_holds_no_whole_context_is_told_with_what_it_takes() -> None:
    assert make_room().advice(134) is None
    advice = make_room().advice(500)
    assert advice is not None
    assert "500 clips is more than the 134" in advice
    assert "engine.memory.arena_gib above 7.4" in advice
