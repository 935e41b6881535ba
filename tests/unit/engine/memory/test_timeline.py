"""A timeline against a plain list of clips, and passages that stay what they were."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onlooker.cache_store.key import StreamKey
from onlooker.engine.memory.clip_tokens import ClipTokens
from onlooker.engine.memory.stream_memory import StreamMemory
from onlooker.engine.memory.timeline import Passage, RememberedClip, Timeline
from onlooker.engine.memory.times import TimeAsked
from tests.fakes.memory import remembered


def make_clip(index: int, *, num_tokens: int = 3) -> RememberedClip:
    """A clip of half a second that ends at `index` + 0.5."""
    return remembered(f"m/default/s/0/clip/{index:010d}", index, num_tokens=num_tokens)


clip_sizes = st.dictionaries(st.integers(0, 40), st.sampled_from([3, 4]), min_size=1)
steps = st.lists(
    st.tuples(st.sampled_from(["add", "add", "forget", "oldest"]), st.integers(0, 45)), max_size=40
)
spans = st.lists(st.tuples(st.floats(-1, 45), st.floats(-1, 45)), max_size=3)


@given(steps, st.data())
def test_a_memory_is_its_clips_in_order(drawn: list[tuple[str, int]], data: st.DataObject) -> None:

    memory = StreamMemory(StreamKey("m", "default", "s"))
    expected: dict[int, Any] = {}
    for what, number in drawn:
        if what == "add" and number not in expected:
            expected[number] = make_clip(number, num_tokens=data.draw(st.sampled_from([3, 4])))
            memory.add(expected[number])
        elif what == "forget":
            memory.forget({make_clip(number).tokens.key})
            expected.pop(number, None)
        elif what == "oldest" and len(expected) > 3:
            oldest = sorted(expected)[: number % 3]
            gone = [expected.pop(index).tokens.key for index in oldest]
            assert memory.forget_oldest(number % 3) == gone
    clips = [expected[index] for index in sorted(expected)]
    assert memory.recent(100) == clips
    assert memory.num_tokens == sum(len(clip.tokens.token_ids) for clip in clips)
    assert memory.keys() == [clip.tokens.key for clip in clips]
    wanted = data.draw(st.lists(st.integers(0, 45)))
    found = memory.find([make_clip(number).tokens.key for number in wanted])
    assert found == [expected[index] for index in sorted({*wanted} & {*expected})]


@given(clip_sizes, spans)
def test_a_passage_is_the_clips_of_its_times(
    sizes: dict[int, int], drawn: list[tuple[float, float]]
) -> None:

    clips = [make_clip(index, num_tokens=sizes[index]) for index in sorted(sizes)]
    timeline = Timeline(clips)
    num_known = timeline.num_before(30.5)
    passage = Passage(timeline, [timeline.stretch(*span, num_known) for span in drawn])
    expected = [
        clip
        for clip in clips
        if clip.end_s <= 30.5
        and any(clip.start_s < end_s and clip.end_s >= start_s for start_s, end_s in drawn)
    ]
    assert list(passage) == expected
    assert len(passage) == len(expected)
    assert passage[:2] == expected[:2]
    assert [passage[place] for place in range(-len(expected), 0)] == expected
    assert list(passage.keys) == [clip.tokens.key for clip in expected]
    by_size = {size: list(alike) for size, alike in passage.size_classes.items()}
    for size, alike in by_size.items():
        assert alike == [clip for clip in expected if clip.tokens.size_class == size]
    assert sum(map(len, by_size.values())) == len(expected)


def test_a_passage_stays_what_it_was() -> None:

    memory = StreamMemory(StreamKey("m", "default", "s"))
    for index in [*range(10), *range(11, 20)]:
        memory.add(make_clip(index))
    recall = memory.recall(TimeAsked(100.0), recent_clips=2, retrieved_clips=1)
    before = list(recall.candidates)
    assert len(before) == 17
    memory.add(make_clip(20))
    memory.add(make_clip(10))  # came late
    memory.forget({make_clip(3).tokens.key})
    memory.forget_oldest(2)
    assert list(recall.candidates) == before
    assert recall.chosen([before[0].tokens.key], {}).placed == [before[0]]


def test_what_a_question_takes_goes_by_runs_not_by_clips() -> None:

    timeline = Timeline(make_clip(i, num_tokens=3 + (i > 99)) for i in range(5000) if i != 3000)
    passage = Passage(timeline, [(0, 4000)])
    assert [count for _, count in passage.keys.runs] == [3000, 1000]


def test_clips_of_any_size_are_named_in_one_run() -> None:
    timeline = Timeline(make_clip(index, num_tokens=3 + index % 7) for index in range(2000))
    passage = Passage(timeline, [(0, 2000)])
    assert [count for _, count in passage.keys.runs] == [2000]
    assert len(passage.size_classes) == 7


@given(clip_sizes, st.tuples(st.integers(0, 41), st.integers(0, 41)))
def test_a_passage_knows_whether_its_clips_are_of_one_size(
    sizes: dict[int, int], drawn: tuple[int, int]
) -> None:
    clips = [make_clip(index, num_tokens=sizes[index]) for index in sorted(sizes)]
    first, last = (min(place, len(clips)) for place in sorted(drawn))
    passage = Passage(Timeline(clips), [(first, last)])
    alike = {clip.tokens.size_class for clip in clips[first:last]}
    assert passage.is_one_size == (len(alike) <= 1)


def as_compacted(clip: RememberedClip, num_tokens: int) -> ClipTokens:
    """The tokens of a clip that was compacted."""
    rows = np.arange(num_tokens)
    return clip.tokens.compacted(f"m/default/s/0/compacted/{clip.clip_index:010d}", rows)


def told(timeline: Timeline) -> list[Any]:
    """What can be seen of a timeline: its clips' keys, its runs and its stretches of one size."""
    count = len(timeline)
    return [
        [clip.tokens.key for clip in timeline],
        timeline.num_tokens,
        [*timeline.runs(0, count)],
        [*timeline.equal_stretches(0, count)],
        list(Passage(timeline, [(0, count)]).keys),
    ]


@given(clip_sizes, st.data())
def test_clips_that_are_compacted_leave_a_timeline_like_one_that_is_made_of_them(
    sizes: dict[int, int], data: st.DataObject
) -> None:
    clips = {index: make_clip(index, num_tokens=sizes[index]) for index in sorted(sizes)}
    timeline = Timeline(clips.values())
    before = told(timeline)
    found = timeline
    for _ in range(data.draw(st.integers(1, 3))):
        chosen = data.draw(st.sets(st.sampled_from([*clips])))
        tokens = {
            index: as_compacted(clips[index], data.draw(st.integers(1, 3)))
            for index in chosen
            if not clips[index].tokens.is_compacted
        }
        found = found.with_tokens(tokens)
        clips |= {index: replace(clips[index], tokens=one) for index, one in tokens.items()}
    assert told(found) == told(Timeline(clips.values()))
    assert told(timeline) == before, "who looks at the old one sees what was there"
