"""The recent window grows and drops strides; its name says when KV may be found again."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.engine.memory.window import RecentWindow

PIXELS = np.zeros((2, 2, 3), np.uint8)


def make_clip(index: int, *, at_s: float | None = None) -> Clip:
    start_s = float(index) if at_s is None else at_s
    first = Frame(2 * index, start_s, 0.0, PIXELS)
    second = Frame(2 * index + 1, start_s + 0.5, 0.0, PIXELS)
    return Clip(StreamId("door"), index, (first, second))


def _shown(
    num_clips: int, *, max_clips: int, stride_clips: int, fails: frozenset[int] = frozenset()
) -> list[tuple[list[int], str]]:
    """The context of every clip in turn: indices and name. Clips in `fails` are not kept."""
    window: RecentWindow[Clip] = RecentWindow()
    kept: list[Clip] = []
    found = []
    for index in range(num_clips):
        clips = window.before_next(kept, max_clips=max_clips, stride_clips=stride_clips)
        found.append(([clip.clip_index for clip in clips], window.name))
        if index not in fails:
            window.done()
            kept.append(make_clip(index))
    return found


@given(num_clips=st.integers(1, 60), max_clips=st.integers(1, 12), data=st.data())
def test_a_context_is_the_newest_clips_and_never_too_many_or_too_few(
    num_clips: int, max_clips: int, data: st.DataObject
) -> None:
    stride_clips = data.draw(st.integers(1, max_clips))
    contexts = _shown(num_clips, max_clips=max_clips, stride_clips=stride_clips)
    for index, (clips, _) in enumerate(contexts):
        assert clips == list(range(index - len(clips), index))
        assert len(clips) <= max_clips
        assert len(clips) >= min(index, max_clips - stride_clips + 1)


@given(num_clips=st.integers(1, 60), max_clips=st.integers(1, 12), data=st.data())
def test_one_name_never_stands_for_two_beginnings(
    num_clips: int, max_clips: int, data: st.DataObject
) -> None:
    fails = frozenset(data.draw(st.sets(st.integers(0, num_clips))))
    contexts = _shown(num_clips, max_clips=max_clips, stride_clips=1 + max_clips // 3, fails=fails)
    longest: dict[str, list[int]] = {}
    for clips, name in contexts:
        before = longest.setdefault(name, clips)
        assert clips[: len(before)] == before
        longest[name] = clips


def test_the_name_stays_while_the_context_grows_and_goes_with_a_stride() -> None:
    contexts = _shown(11, max_clips=6, stride_clips=3)
    names = [name for _, name in contexts]
    assert len(set(names[1:7])) == 1
    assert contexts[7][0] == [3, 4, 5, 6]
    assert names[7] not in names[:7]
    assert names[7] == names[8] == names[9]


@pytest.mark.parametrize("failed", [2, 5])
def test_after_a_request_that_did_not_end_well_nothing_is_found_again(failed: int) -> None:
    contexts = _shown(8, max_clips=20, stride_clips=5, fails=frozenset({failed}))
    assert contexts[failed][1] != contexts[failed + 1][1]


def test_a_context_whose_first_clip_is_forgotten_has_another_name() -> None:
    window: RecentWindow[Clip] = RecentWindow()
    clips = [make_clip(index) for index in range(5)]
    window.before_next(clips, max_clips=9, stride_clips=3)
    before = window.name
    window.done()
    shown = window.before_next(clips[1:], max_clips=9, stride_clips=3)
    assert [clip.clip_index for clip in shown] == [1, 2, 3, 4]
    assert before != window.name


def test_a_narrower_limit_drops_at_once_and_a_wider_one_lets_it_grow_again() -> None:
    window: RecentWindow[Clip] = RecentWindow()
    clips = [make_clip(index) for index in range(10)]
    narrow = window.before_next(clips[-5:], max_clips=4, stride_clips=1)
    assert [clip.clip_index for clip in narrow] == [6, 7, 8, 9]
    wide = window.before_next(clips, max_clips=8, stride_clips=2)
    assert [clip.clip_index for clip in wide] == [6, 7, 8, 9]


@given(max_clips=st.integers(2, 20), stride=st.integers(1, 20))
def test_the_beginning_stands_still_for_a_whole_stride(max_clips: int, stride: int) -> None:
    stride = min(stride, max_clips)
    contexts = _shown(max_clips + 4 * stride + 1, max_clips=max_clips, stride_clips=stride)
    starts = [clips[0] for clips, _ in contexts if clips]
    moves = [i for i in range(1, len(starts)) if starts[i] > starts[i - 1]]
    if stride < max_clips:
        assert moves
    assert all(later - earlier == stride for earlier, later in itertools.pairwise(moves))
