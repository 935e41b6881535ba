"""Clips and notes that are taken out of a memory on purpose: nobody sees or misses them."""

import asyncio
import math

import pytest

from onlooker.cache_store.key import StreamKey
from onlooker.engine.memory.notes import Note
from onlooker.engine.memory.stream_memory import StreamMemory
from onlooker.engine.memory.timeline import RememberedClip
from onlooker.engine.memory.window import RecentWindow
from tests.fakes.memory import remembered
from tests.unit.engine.memory.test_notes import asked, make_prompts, make_taker
from tests.unit.engine.memory.test_recall import indices, make_memory


def all_of(memory: StreamMemory) -> list[int]:
    return indices(memory.recent(1000))


@pytest.mark.parametrize(
    ("span", "gone"),
    [
        ((2.0, 4.0), [2, 3, 4]),
        ((2.5, 2.5), [2]),
        ((2.6, 2.9), []),
        ((-math.inf, 1.0), [0, 1]),
        ((8.0, math.inf), [8, 9]),
    ],
)
def test_clips_that_show_anything_of_a_span_go(span: tuple[float, float], gone: list[int]) -> None:
    memory = make_memory(10)
    clips, has_more = memory.forget_span(*span)
    assert (indices(clips), has_more) == (gone, False)
    assert all_of(memory) == [index for index in range(10) if index not in gone]
    assert not memory.is_incomplete


def test_what_prompts_begin_with_is_forgotten_with_the_clips() -> None:
    memory = make_memory(3)
    before = memory.opening
    memory.forget_span(2.6, 2.9)
    assert memory.opening is before, "no clip went"
    memory.forget_span(2.0, 2.0)
    assert memory.opening is not before


def test_no_more_go_at_once_than_were_asked_for() -> None:
    memory = make_memory(10)
    parts = []
    while True:
        clips, has_more = memory.forget_span(0.0, 5.0, 4)
        parts.append(indices(clips))
        if not has_more:
            break
    assert parts == [[0, 1, 2, 3], [4, 5]]


def test_clips_that_were_deleted_before_a_restart_are_not_missed_after_it() -> None:
    memory = StreamMemory(StreamKey("m", "default", "s"))
    for index in (0, 1, 4, 5, 8):
        memory.add(remembered(memory.clip_key(index), index))
    assert memory.note_gaps() == {2, 3, 6, 7}
    memory.forget_span(2.0, 3.5)
    assert memory.is_incomplete, "6 and 7 were not deleted"
    memory.forget_span(6.0, 7.5)
    assert not memory.is_incomplete


def test_no_request_finds_blocks_of_a_window_that_had_a_deleted_clip() -> None:
    for gone, has_new_name in (((1,), False), ((7,), True)):
        window: RecentWindow[RememberedClip] = RecentWindow()
        clips = [remembered(f"k/{index}", index) for index in range(10)]
        window.before_next(clips[5:], max_clips=8, stride_clips=2)
        window.done()
        name = window.name
        window.forget(gone)
        window.before_next(clips[5:], max_clips=8, stride_clips=2)
        assert (window.name != name) is has_new_name


def test_notes_go_by_when_they_were_asked_and_a_note_of_unknown_time_goes_too() -> None:
    memory = make_memory(1)
    for asked_s in (5.0, 15.0, 25.0, math.inf):
        memory.notes.add(memory.notes.next_note([1], asked_s))
    keys = memory.notes.keys()
    assert memory.notes.forget_asked(-math.inf, 10.0) == keys[:1]
    assert memory.notes.forget_asked(20.0, math.inf) == keys[2:]
    assert memory.notes.keys() == keys[1:2]
    old = Note.restored(keys[0], {"token_ids": "[1]"})
    assert old.asked_s == math.inf


def test_a_note_that_is_being_written_when_something_is_deleted_is_not_kept() -> None:
    async def scenario() -> None:
        memory, prompts = make_memory(1), make_prompts()
        taker, saved, dropped = make_taker(prompts)
        taker.take(memory, asked(), "a star")
        memory.notes.forget_asked(0.0, math.inf)
        await taker.settled()
        assert (saved, memory.notes.keys()) == ([], [])

        started, may_go_on = asyncio.Event(), asyncio.Event()

        async def run(builder: object) -> None:
            started.set()
            await may_go_on.wait()

        taker._run = run
        taker.take(memory, asked(), "a star")
        await started.wait()
        key = memory.notes.next_note([1], 0.0).key
        memory.notes.forget_asked(0.0, math.inf)
        may_go_on.set()
        await taker.settled()
        assert (dropped, memory.notes.keys()) == ([key], [])
        assert memory.notes.next_note([1], 0.0).key != key, "a deleted key is never used again"

    asyncio.run(scenario())
