"""The context of new clips grows and drops strides; its name says when KV may be found again."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.engine.memory.context import GrowingContext


@dataclass(frozen=True)
class Numbered:
    clip_index: int


def _shown(
    num_clips: int, *, max_clips: int, stride_clips: int, fails: frozenset[int] = frozenset()
) -> list[tuple[list[int], str]]:
    """The context of every clip in turn: indices and name. Clips in `fails` are not kept."""
    context: GrowingContext[Numbered] = GrowingContext()
    kept: list[Numbered] = []
    found = []
    for index in range(num_clips):
        clips, name = context.begin(kept, max_clips=max_clips, stride_clips=stride_clips)
        found.append(([clip.clip_index for clip in clips], name))
        if index not in fails:
            context.done()
            kept.append(Numbered(index))
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
    context: GrowingContext[Numbered] = GrowingContext()
    clips = [Numbered(index) for index in range(5)]
    _, before = context.begin(clips, max_clips=9, stride_clips=3)
    context.done()
    shown, after = context.begin(clips[1:], max_clips=9, stride_clips=3)
    assert [clip.clip_index for clip in shown] == [1, 2, 3, 4]
    assert before != after


def test_a_narrower_limit_drops_at_once_and_a_wider_one_lets_it_grow_again() -> None:
    context: GrowingContext[Numbered] = GrowingContext()
    clips = [Numbered(index) for index in range(10)]
    narrow, _ = context.begin(clips[-5:], max_clips=4, stride_clips=1)
    assert [clip.clip_index for clip in narrow] == [6, 7, 8, 9]
    wide, _ = context.begin(clips, max_clips=8, stride_clips=2)
    assert [clip.clip_index for clip in wide] == [6, 7, 8, 9]
