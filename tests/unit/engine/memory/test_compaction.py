"""What stays of a clip that is compacted: how much, which, and where it stands."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.cache_store.key import StreamKey
from onlooker.engine.memory.clip_tokens import ClipTokens, Placeholder
from onlooker.engine.memory.compaction import (
    COMPACTIONS,
    Blend,
    ClipShape,
    CompactionSection,
    left_of,
)
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.memory.evidence import with_evidence
from onlooker.engine.memory.plan import RequestReport
from onlooker.engine.memory.prompt import PromptBuilder
from onlooker.engine.memory.rotary_layout import RotaryLayout
from onlooker.engine.memory.stream_memory import Recall, StreamMemory
from onlooker.engine.memory.timeline import RememberedClip, Timeline
from tests.unit.engine.memory.test_shown import END

MERGE = 2
LAYOUT = RotaryLayout(video_token=9, patch=4, merge=MERGE, tokens_per_second=None)


def clip_of(rows: int, columns: int, *, stamp: int = 3, key: str = "m/t/s/0/clip/1") -> ClipTokens:
    """A clip of `stamp` tokens of text, a picture, and one more token of text."""
    ids = [1] * stamp + [9] * (rows * columns) + [2]
    place = Placeholder(0, len(ids), np.array(ids) == 9)
    grid = [1, rows * MERGE, columns * MERGE]
    return ClipTokens.made(key, ids, place, grid, LAYOUT, stamps=None, second_per_grid=None)


def left(name: str, clip: ClipTokens, measured: Any, **settings: Any) -> list[Blend]:
    shape = ClipShape.of(clip, MERGE)
    return left_of(COMPACTIONS[name], shape, measured, CompactionSection(**settings))


def measures(name: str, clip: ClipTokens, seed: int) -> list[float]:
    method, shape = COMPACTIONS[name], ClipShape.of(clip, MERGE)
    count = len(method.pairs(shape)) if method.measure == "likeness" else shape.num_tokens
    found: list[float] = np.random.default_rng(seed).random(count).tolist()
    return found


sides = st.integers(1, 8)
shown_places = st.lists(st.booleans(), min_size=64, max_size=64)
sections = st.fixed_dictionaries(
    {
        "keep_ratio": st.floats(0.01, 1.0),
        "min_places": st.integers(1, 20),
        "keeps_text": st.booleans(),
    }
)


def thinned(clip: ClipTokens, drawn: list[bool]) -> ClipTokens:
    shown = np.array(drawn[: len(clip.picture_rows)])
    shown[0] = True
    return clip if shown.all() else clip.without(shown)


@given(st.sampled_from([*COMPACTIONS]), sides, sides, sections, shown_places, st.integers(0, 99))
def test_every_method_keeps_what_it_is_told_to(
    name: str, rows: int, columns: int, settings: Any, drawn: list[bool], seed: int
) -> None:
    clip = thinned(clip_of(rows, columns), drawn)
    shape = ClipShape.of(clip, MERGE)
    found = left(name, clip, measures(name, clip, seed), **settings)
    kept = [row for row, _ in found]
    assert kept == sorted(set(kept))
    picture = set(shape.picture.tolist())
    places = [(row, members) for row, members in found if row in picture]
    is_whole = settings["keep_ratio"] == 1
    text_stays = settings["keeps_text"] or is_whole
    assert [row for row in kept if row not in picture] == (shape.text if text_stays else [])
    total = int(settings["keep_ratio"] * shape.num_tokens + 1e-9)
    wanted = max(settings["min_places"], total - (len(shape.text) if text_stays else 0))
    assert len(places) == (len(picture) if is_whole else min(len(picture), wanted))
    stand_for = [row for _, members in places for row in members]
    assert len(stand_for) == len(set(stand_for)), "nothing is counted twice"
    assert picture.issuperset(stand_for)
    assert all(row in members for row, members in places)
    if name in ("merge", "carriers"):
        assert set(stand_for) == picture, "something stands for every place"


@pytest.mark.parametrize("name", [*COMPACTIONS])
def test_with_a_ratio_of_one_nothing_is_touched(name: str) -> None:
    clip = clip_of(3, 3)
    found = left(name, clip, measures(name, clip, 0), keep_ratio=1.0, keeps_text=False)
    assert found == [(row, [row]) for row in range(13)]


def test_the_tokens_with_the_largest_values_stay() -> None:
    clip = clip_of(3, 3)
    measured = [9.0, 9, 9, 1, 5, 2, 7, 1, 1, 6, 1, 1, 9]
    found = left("value_norm", clip, measured, keep_ratio=0.54, min_places=1)
    assert [row for row, _ in found] == [0, 1, 2, 4, 6, 9, 12]


def test_attention_on_one_spot_does_not_take_all_the_room() -> None:
    clip = clip_of(1, 12)
    measured = [0.0] * 3 + [9, 8, 7, 6, 5, 1, 1, 1, 1, 1, 3, 1] + [0.0]
    found = left("vsb", clip, measured, keep_ratio=0.5, min_places=1, keeps_text=False)
    kept = [row - 3 for row, _ in found]
    assert len(kept) == 8
    assert {0, 1, 10} < set(kept), "two of each quarter, the best"
    assert 2 not in kept


def test_neighbours_that_are_alike_become_one() -> None:
    clip = clip_of(2, 3)
    pairs = COMPACTIONS["merge"].pairs(ClipShape.of(clip, MERGE))
    alike = {(3, 4): 0.99, (4, 5): 0.98, (6, 7): 0.97}
    measured = [alike.get(pair, 0.1) for pair in pairs]
    found = left("merge", clip, measured, keep_ratio=0.3, min_places=3, keeps_text=False)
    assert found == [(4, [3, 4, 5]), (7, [6, 7]), (8, [8])]


def test_places_that_are_not_beside_each_other_are_no_neighbours() -> None:
    clip = clip_of(2, 2)
    assert ClipShape.of(clip, MERGE).neighbours() == [(3, 4), (3, 5), (4, 6), (5, 6)]
    thin = clip.without(np.array([True, False, True, True]))
    assert ClipShape.of(thin, MERGE).neighbours() == [(3, 4), (4, 5)]


@given(sides, sides, shown_places, st.data())
def test_what_is_left_stands_where_it_stood_also_after_a_restart(
    rows: int, columns: int, drawn: list[bool], data: st.DataObject
) -> None:
    clip = thinned(clip_of(rows, columns), drawn)
    others = st.sets(st.integers(0, len(clip.token_ids) - 1))
    chosen = np.array(sorted({*data.draw(others), int(clip.picture_rows[0])}), np.int64)
    found = clip.compacted("m/t/s/0/compacted/1", chosen)
    again = ClipTokens.restored(found.key, json.loads(json.dumps(found.meta())), LAYOUT)
    for one in (found, again):
        assert one.token_ids == [clip.token_ids[row] for row in chosen]
        assert (one.offsets == clip.offsets[:, chosen]).all()
        assert one.extent == clip.extent
        assert one.is_compacted
        assert one.shown_ratio == clip.shown_ratio
        assert one.kept is not None
        assert len(one.kept) == len(one.picture_rows)
        assert all(one.token_ids[row] == 9 for row in one.picture_rows)
    places = np.arange(len(clip.picture_rows)) if clip.kept is None else clip.kept
    assert found.kept is not None
    assert found.kept.tolist() == places[np.isin(clip.picture_rows, chosen)].tolist()


def test_what_follows_a_compacted_clip_stands_where_it_would_behind_the_whole_one() -> None:
    clip = clip_of(3, 3)
    positions = []
    for one in (clip, clip.compacted("k", np.array([0, 5]))):
        builder = PromptBuilder()
        builder.load_clip(one)
        builder.question([7, 7])
        found = builder.build().positions
        assert found is not None
        positions.append(found[:, -2:].tolist())
    assert positions[0] == positions[1]


def remembering(num_clips: int) -> StreamMemory:
    memory = StreamMemory(StreamKey("m", "default", "s"))
    for index in range(num_clips):
        tokens = clip_of(2, 2, key=memory.clip_key(index))
        memory.add(RememberedClip(tokens, index, float(index), index + 0.5, index + 1.0))
    return memory


def compact(memory: StreamMemory, *indices: int) -> None:
    tokens = {}
    for index in indices:
        clip = memory.at_index(index)
        assert clip is not None
        tokens[index] = clip.tokens.compacted(memory.compacted_key(index), np.array([0, 4]))
    memory.compact(tokens)


def test_the_oldest_whole_clips_come_first() -> None:
    memory = remembering(10)
    assert [clip.clip_index for clip in memory.whole_between(-1, 6, 3)] == [0, 1, 2]
    compact(memory, 0, 1, 3)
    assert [clip.clip_index for clip in memory.whole_between(-1, 6, 3)] == [2, 4, 5]
    assert [clip.clip_index for clip in memory.whole_between(-1, 6, 99)] == [2, 4, 5]


def test_clips_that_are_compacted_are_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, looked_at = remembering(60), []
    for index in range(0, 60, 2):  # each clip is a run of its own
        memory.forget_span(float(index), index + 0.2)
    compact(memory, *range(1, 51, 2))
    runs = Timeline.runs

    def counted(timeline: Timeline, first: int, last: int) -> Iterator[tuple[int, int]]:
        for run in runs(timeline, first, last):
            looked_at.append(run)
            yield run

    monkeypatch.setattr(Timeline, "runs", counted)
    assert [clip.clip_index for clip in memory.whole_between(-1, 60, 2)] == [51, 53]
    assert len(looked_at) == 27
    looked_at.clear()
    compact(memory, 51)
    assert [clip.clip_index for clip in memory.whole_between(-1, 60, 2)] == [53, 55]
    assert len(looked_at) == 3
    assert memory.whole_between(-1, 1, 2) == []


def test_a_clip_that_is_deleted_while_it_is_compacted_is_deleted_twice() -> None:
    memory = remembering(4)
    memory.twins[1] = memory.compacted_key(1)
    clips, _ = memory.forget_span(1.0, 1.2)
    assert memory.all_keys(clips) == [memory.clip_key(1), memory.compacted_key(1)]
    assert memory.twins == {}


def test_evidence_tells_what_was_compacted() -> None:
    memory = remembering(6)
    compact(memory, 0, 1)
    recall = Recall(memory.recent(6)[:3], memory.recent(3))
    end = with_evidence(
        END, RequestReport(), recall, memory, asked_s=9.0, once=(), incomplete=False
    )
    assert [(one.start_s, one.is_compacted) for one in end.evidence] == [(0.0, True), (3.0, False)]


def test_one_pass_is_refused_beside_compaction() -> None:
    with pytest.raises(ValueError, match="choose 'auto' or 'probe'"):
        MemorySection(retrieval="layers", compaction=CompactionSection(method="merge"))
