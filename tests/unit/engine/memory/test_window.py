"""The recent window: bounded, in order, and dropped a stride at a time."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.engine.memory.window import RecentWindow, spans_s

PIXELS = np.zeros((2, 2, 3), np.uint8)


def make_clip(index: int, *, at_s: float | None = None) -> Clip:
    start_s = float(index) if at_s is None else at_s
    first = Frame(2 * index, start_s, 0.0, PIXELS)
    second = Frame(2 * index + 1, start_s + 0.5, 0.0, PIXELS)
    return Clip(StreamId("door"), index, (first, second))


@given(max_clips=st.integers(1, 20), stride=st.integers(1, 20), num_clips=st.integers(0, 100))
def test_holds_the_newest_clips_and_never_more_than_its_bound(
    max_clips: int, stride: int, num_clips: int
) -> None:
    stride = min(stride, max_clips)
    window = RecentWindow(max_clips=max_clips, stride_clips=stride)
    for index in range(num_clips):
        window.add(make_clip(index))
        held = [clip.clip_index for clip in window.clips()]
        assert len(held) <= max_clips
        assert held == list(range(held[0], index + 1))
        assert len(held) >= min(index + 1, max_clips - stride + 1)


@given(max_clips=st.integers(2, 20), stride=st.integers(1, 20))
def test_start_stands_still_for_a_whole_stride(max_clips: int, stride: int) -> None:
    stride = min(stride, max_clips)
    window = RecentWindow(max_clips=max_clips, stride_clips=stride)
    starts = []
    for index in range(max_clips + 4 * stride):
        window.add(make_clip(index))
        starts.append(window.clips()[0].clip_index)
    moves = [i for i in range(1, len(starts)) if starts[i] != starts[i - 1]]
    assert moves
    assert all(later - earlier == stride for earlier, later in itertools.pairwise(moves))


def test_an_answer_about_a_time_knows_nothing_later() -> None:
    window = RecentWindow(max_clips=8, stride_clips=4)
    for index in range(5):
        window.add(make_clip(index))
    assert [clip.end_s for clip in window.until(2.5)] == [0.5, 1.5, 2.5]
    assert [clip.end_s for clip in window.until(2.4)] == [0.5, 1.5, 2.0]  # half of the last
    assert [clip.end_s for clip in window.until(1.9)] == [0.5, 1.5]


def test_a_clip_whose_ingest_failed_is_taken_back() -> None:
    window = RecentWindow(max_clips=2, stride_clips=1)
    kept, lost = make_clip(0), make_clip(1)
    window.add(kept)
    window.add(lost)
    window.discard(lost)
    window.discard(lost)
    assert window.clips() == [kept]


@pytest.mark.parametrize(("max_clips", "stride"), [(0, 1), (4, 0), (4, 5)])
def test_a_stride_that_does_not_fit_is_refused(max_clips: int, stride: int) -> None:
    with pytest.raises(ValueError, match="cannot drop"):
        RecentWindow(max_clips=max_clips, stride_clips=stride)


def test_spans_merge_neighbours_and_keep_gaps() -> None:
    clips = [make_clip(0), make_clip(1), make_clip(5)]
    assert spans_s(clips) == ((0.0, 1.5), (5.0, 5.5))
    assert spans_s([]) == ()
