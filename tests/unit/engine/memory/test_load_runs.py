"""Runs of loads are the loads themselves, in few words."""

import json

from hypothesis import given
from hypothesis import strategies as st

from onlooker.engine.memory.load_runs import LoadRuns, LoadSpan

small = st.integers(0, 3)
spans = st.builds(
    LoadSpan,
    st.builds(lambda stem, n: f"{stem}{n:02d}", st.sampled_from(["a/clip/", "b"]), small),
    small, small, small,
)  # fmt: skip


def window(num_clips: int, *, first: int = 0) -> list[LoadSpan]:
    """A sink of 10 tokens, and clips of 15 tokens that take 12 positions."""
    clips = [
        LoadSpan(f"s/clip/{first + i:010d}", 10 + 15 * i, 15, 10 + 12 * i) for i in range(num_clips)
    ]
    return [LoadSpan("s/sink/7", 0, 10, 0), *clips]


@given(st.lists(spans, max_size=12))
def test_any_loads_come_out_as_they_went_in(drawn: list[LoadSpan]) -> None:
    runs = LoadRuns.of(drawn)
    assert list(runs) == drawn
    assert len(runs) == len(drawn)
    assert runs[1:] == drawn[1:]
    assert list(LoadRuns(json.loads(json.dumps(runs.runs)))) == drawn


def test_the_clips_of_a_window_are_one_run() -> None:
    runs = LoadRuns.of(window(68))
    assert [run.num_segments for run in runs.runs] == [1, 68]


def test_a_clip_of_another_size_begins_another_run() -> None:
    spans = window(3)
    longer = LoadSpan("s/clip/0000000003", 55, 16, 46)
    assert [run.num_segments for run in LoadRuns.of([*spans, longer]).runs] == [1, 3, 1]


def test_a_clip_that_is_missing_begins_another_run() -> None:
    spans = window(4)
    del spans[2]
    assert [run.num_segments for run in LoadRuns.of(spans).runs] == [1, 1, 2]


@given(st.integers(0, 80))
def test_the_loads_behind_a_token_are_those_that_end_after_it(token: int) -> None:
    spans = window(4)
    wanted = [span for span in spans if span.start + span.num_tokens > token]
    assert LoadRuns.of(spans).ending_after(token) == wanted


def test_a_copy_grows_alone() -> None:
    runs = LoadRuns.of(window(2))
    grown = runs.copy()
    grown.append(window(3)[-1])
    assert (len(runs), len(grown)) == (3, 4)
