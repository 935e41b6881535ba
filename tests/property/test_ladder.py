"""Laws of the quality ladder, for any course of load."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from onlooker.scheduler.ladder import Ladder
from onlooker.scheduler.quality import RUNGS
from onlooker.scheduler.slo import Tier

loads = st.lists(st.floats(0, 3), min_size=1, max_size=60)


def make_ladder(members: list[tuple[Tier, str]]) -> Ladder:
    ladder = Ladder(target_load=0.8, step_down_s=1.0, step_up_s=4.0)
    for index, (tier, tenant) in enumerate(members):
        ladder.join(f"s{index}", tier, tenant)
    return ladder


members = st.lists(
    st.tuples(st.sampled_from(Tier), st.sampled_from(["a", "b", "c"])), min_size=1, max_size=30
)


def test_each_rung_is_in_nothing_better_than_the_one_before() -> None:
    assert RUNGS[0] == type(RUNGS[0])()
    for index, (upper, lower) in enumerate(pairwise(RUNGS)):
        assert lower.level == index + 1
        assert lower.is_at_most(upper)
        assert lower != upper


@given(members, loads)
def test_equals_stand_within_one_rung_of_each_other(
    who: list[tuple[Tier, str]], course: list[float]
) -> None:
    ladder = make_ladder(who)
    for second, load in enumerate(course):
        ladder.update(load, float(second))
        for tier in Tier:
            levels = [ladder.quality(f"s{i}").level for i, (t, _) in enumerate(who) if t is tier]
            assert max(levels, default=0) - min(levels, default=0) <= 1


@given(members, loads)
def test_who_minds_more_never_stands_lower(
    who: list[tuple[Tier, str]], course: list[float]
) -> None:
    ladder = make_ladder(who)
    for second, load in enumerate(course):
        ladder.update(load, float(second))
        by_tier = [
            [ladder.quality(f"s{i}").level for i, (t, _) in enumerate(who) if t is tier]
            for tier in Tier
        ]
        for better, worse in pairwise(by_tier):
            if better and worse:
                assert max(better) <= min(worse) + 1


@given(members, st.floats(0.801, 0.899))
def test_between_the_thresholds_nothing_moves(who: list[tuple[Tier, str]], load: float) -> None:
    ladder = make_ladder(who)
    ladder.update(2.0, 0.0)
    before = ladder.levels()
    for second in range(1, 100):
        assert ladder.update(load, float(second)) == {}
    assert ladder.levels() == before


@given(members)
def test_more_load_never_raises_quality_and_calm_brings_it_all_back(
    who: list[tuple[Tier, str]],
) -> None:
    ladder = make_ladder(who)
    total = 0
    for second in range(100):
        ladder.update(1.5, float(second))
        fallen = sum(level * count for level, count in ladder.levels().items())
        assert fallen >= total
        total = fallen
    assert ladder.is_at_bottom
    for second in range(100, 600):
        ladder.update(0.1, float(second))
    assert set(ladder.levels()) == {0}


@given(st.integers(1, 10), st.integers(1, 20))
def test_tenants_lose_alike(num_small: int, num_large: int) -> None:
    ladder = make_ladder(
        [(Tier.STANDARD, "small")] * num_small + [(Tier.STANDARD, "large")] * num_large
    )
    for second in range(4):
        ladder.update(0.95, float(second))
        small = [ladder.quality(f"s{i}").level for i in range(num_small)]
        large = [ladder.quality(f"s{num_small + i}").level for i in range(num_large)]
        assert abs(sum(small) / num_small - sum(large) / num_large) <= 1


def test_a_swinging_load_does_not_make_quality_swing() -> None:
    ladder = make_ladder([(Tier.STANDARD, "")] * 8)
    for second in range(60):
        ladder.update(1.2 if second % 2 else 0.2, float(second))
    assert min(ladder.levels()) >= len(RUNGS) - 2  # it fell and stayed: calm never lasted


def test_a_stream_that_joins_stands_where_its_equals_stand() -> None:
    ladder = make_ladder([(Tier.STANDARD, "")])
    ladder.update(1.5, 0.0)
    assert ladder.join("new", Tier.STANDARD) == RUNGS[1]
    ladder.leave("new")
    ladder.leave("never joined")


def test_while_the_backlog_melts_quality_does_not_fall_further() -> None:
    ladder = make_ladder([(Tier.STANDARD, "")] * 4)
    backlog = 100.0
    assert ladder.update(1.5, 0.0, backlog=backlog)
    for second in range(1, 20):
        backlog *= 0.9
        assert ladder.update(1.5, float(second), backlog=backlog) == {}
    assert ladder.update(1.5, 20.0, backlog=backlog)
