"""Runs of keys are the keys themselves, in few words."""

import json

from hypothesis import given
from hypothesis import strategies as st

from onlooker.engine.memory.key_runs import KeyParts, KeyRuns

numbers = st.integers(0, 30) | st.integers(90, 110) | st.integers(0, 10**30)
keys = st.builds(
    lambda stem, number, width: f"{stem}{number:0{width}d}",
    st.sampled_from(["a/clip/", "a/clip/0", "b", ""]), numbers, st.sampled_from([1, 3, 10]),
)  # fmt: skip
any_keys = st.lists(keys | st.sampled_from(["sink", "", "x\u0661"]), max_size=30)


@given(any_keys)
def test_any_keys_come_out_as_they_went_in(drawn: list[str]) -> None:
    runs = KeyRuns.of(drawn)
    assert list(runs) == drawn
    assert len(runs) == len(drawn)
    assert [runs[place] for place in range(-len(drawn), len(drawn))] == drawn + drawn
    assert list(runs[1:]) == drawn[1:]
    assert list(KeyRuns(json.loads(json.dumps(runs.runs)))) == drawn
    assert list(runs + KeyRuns.of(["z9"])) == [*drawn, "z9"]


@given(any_keys)
def test_a_key_is_its_parts(drawn: list[str]) -> None:
    for key in drawn:
        assert KeyParts.of(key).text == key
        assert KeyParts.of(key).number < 10**18


def test_an_hour_of_clips_is_one_run_and_a_gap_makes_two() -> None:
    hour = [f"m/default/s/0/clip/{index:010d}" for index in range(3600)]
    assert KeyRuns.of(hour).runs == [(hour[0], 3600)]
    assert KeyRuns.of(hour[:10] + hour[11:]).runs == [(hour[0], 10), (hour[11], 3589)]


def test_a_run_ends_where_the_number_gets_another_digit() -> None:
    assert KeyRuns.of(["a8", "a9", "a10", "a11"]).runs == [("a8", 2), ("a10", 2)]
