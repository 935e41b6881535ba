"""Laws of the quality ladder, for any course of load."""

from collections import Counter
from itertools import pairwise, permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.scheduler.forecast import Demand, Prices, Work
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


prices = st.builds(
    Prices,
    clip_s=st.floats(1e-4, 0.2),
    context_s=st.floats(0, 0.1),
    gateway_offered_s=st.floats(0, 1e-3),
    gateway_looked_s=st.floats(0, 1e-2),
    gateway_clip_s=st.floats(0, 5e-2),
    engine_rest=st.floats(0, 0.6),
    gateway_rest=st.floats(0, 0.6),
)


def demanding(members: list[tuple[Tier, str]], fps: float) -> Ladder:
    ladder = make_ladder(members)
    for index in range(len(members)):
        ladder.note_demand(f"s{index}", Demand(fps))
    return ladder


def levels_by_tier(
    ladder: Ladder, who: list[tuple[Tier, str]], of: str | None = None
) -> list[list[int]]:
    """The levels of each tier's streams, all or those of one tenant."""
    return [
        [
            ladder.quality(f"s{i}").level
            for i, (t, tenant) in enumerate(who)
            if t is tier and of in (None, tenant)
        ]
        for tier in Tier
    ]


@given(members, prices, st.floats(0.1, 4))
def test_what_will_be_too_much_makes_quality_fall_at_once_as_far_as_needed_and_no_further(
    who: list[tuple[Tier, str]], price: Prices, fps: float
) -> None:
    ladder = demanding(who, fps)
    before = price.load(ladder.work())
    ladder.update(0.0, 0.0, prices=price)
    after = price.load(ladder.work())
    if before <= 0.9:
        assert set(ladder.levels()) == {0}
        return
    assert after <= 0.8 or ladder.is_at_bottom
    if not ladder.is_at_bottom:  # with the last one a rung higher it would not do
        most = max(
            Demand(fps).work(upper).clips - Demand(fps).work(lower).clips
            for upper, lower in pairwise(RUNGS)
        )
        step = price.load(ladder.work()) - price.load(ladder.work(len(RUNGS) - 1))
        assert step >= 0
        assert after > 0.8 - most * (price.clip_s + price.context_s) - fps * (
            price.clip_s + price.context_s + price.gateway_looked_s + price.gateway_clip_s
        )


alike = st.lists(st.sampled_from(Tier), min_size=1, max_size=10).map(
    lambda tiers: [(tier, tenant) for tenant in "abc" for tier in tiers]
)
"""Members of three tenants that use alike."""


@settings(max_examples=30)
@given(members, prices, st.floats(0.1, 4))
def test_looking_ahead_keeps_equals_of_a_tenant_together_and_its_tiers_in_order(
    who: list[tuple[Tier, str]], price: Prices, fps: float
) -> None:
    ladder = demanding(who, fps)
    for second in range(60):
        ladder.update(price.load(ladder.work()), float(second), prices=price)
        for tenant in "abc":
            by_tier = levels_by_tier(ladder, who, tenant)
            for levels in by_tier:
                assert max(levels, default=0) - min(levels, default=0) <= 1
            for better, worse in pairwise(by_tier):
                if better and worse:
                    assert max(better) <= min(worse) + 1


@settings(max_examples=30)
@given(members, prices, st.floats(0.1, 4))
def test_who_uses_more_stands_no_better(
    who: list[tuple[Tier, str]], price: Prices, fps: float
) -> None:
    ladder = demanding(who, fps)
    used = Counter(tenant for _, tenant in who)
    for second in range(60):
        ladder.update(price.load(ladder.work()), float(second), prices=price)
        for more, less in permutations(used, 2):
            if used[more] < used[less]:
                continue
            for large, small in zip(
                levels_by_tier(ladder, who, more), levels_by_tier(ladder, who, less), strict=True
            ):
                if large and small:
                    assert max(small) <= min(large) + 1


def test_a_tenant_with_much_falls_before_one_with_little() -> None:
    ladder = demanding([(Tier.STANDARD, "large")] * 15 + [(Tier.STANDARD, "small")], 2.0)
    price = Prices(clip_s=1 / 10)
    assert price.load(ladder.work()) > 1.5
    ladder.update(0.0, 0.0, prices=price)
    assert price.load(ladder.work()) <= 0.8
    large = [ladder.quality(f"s{index}").level for index in range(15)]
    assert ladder.quality("s15").level <= min(large) - 3


@settings(max_examples=30)
@given(alike, prices, st.floats(0.1, 4))
def test_looking_ahead_keeps_equals_together_and_tiers_in_order(
    who: list[tuple[Tier, str]], price: Prices, fps: float
) -> None:
    ladder = demanding(who, fps)
    for second in range(60):
        ladder.update(price.load(ladder.work()), float(second), prices=price)
        by_tier = levels_by_tier(ladder, who)
        for levels in by_tier:
            assert max(levels, default=0) - min(levels, default=0) <= 1
        for better, worse in pairwise(by_tier):
            if better and worse:
                assert max(better) <= min(worse) + 1


@given(members, prices, st.floats(0.1, 4))
def test_more_demand_never_means_more_quality(
    who: list[tuple[Tier, str]], price: Prices, fps: float
) -> None:
    # Frames in pairs wait for their partners however long: where they do not, those that come
    # faster may find theirs in time, and then cost less than fewer of them did.
    fallen = []
    for factor in (1.0, 1.5):
        ladder = make_ladder(who)
        for index in range(len(who)):
            ladder.note_demand(f"s{index}", Demand(fps * factor, gap_s=0.01, pair_gap_s=1e6))
        ladder.update(0.0, 0.0, prices=price)
        fallen.append(sum(level * count for level, count in ladder.levels().items()))
    if fallen[0]:
        assert fallen[1] >= fallen[0]


@settings(max_examples=20)
@given(members, prices, st.floats(0.1, 4), st.sampled_from([0.5, 0.8, 1.0, 1.3, 2.0]))
def test_constant_demand_settles(
    who: list[tuple[Tier, str]], price: Prices, fps: float, error: float
) -> None:
    """Also where every forecast is wrong by a half: then rises are tried less and less often."""
    ladder, moves = demanding(who, fps), []
    for tick in range(800):
        now_s = tick / 2
        true_load = min(2.0, error * price.load(ladder.work()))
        if ladder.update(true_load, now_s, prices=price):
            moves.append(now_s)
    assert len([at_s for at_s in moves if at_s > 200]) <= 200 / 4 / 2
    if error == 1.0:
        assert not [at_s for at_s in moves if at_s > 100]


@settings(max_examples=20)
@given(members, prices, st.floats(0.1, 4))
def test_when_demand_goes_quality_comes_back(
    who: list[tuple[Tier, str]], price: Prices, fps: float
) -> None:
    ladder = demanding(who, fps)
    ladder.update(price.load(ladder.work()), 0.0, prices=price)
    idle = Prices(clip_s=1e-6)
    for second in range(1, 100):
        ladder.update(0.0, float(second), prices=idle)
    assert set(ladder.levels()) == {0}


def test_a_jump_of_demand_is_met_in_one_move() -> None:
    ladder = demanding([(Tier.STANDARD, "")] * 100, fps=1.0)
    price = Prices(clip_s=0.02)
    assert ladder.update(0.0, 0.0, prices=price)
    # 100 clips a second take twice the engine: pairs make it 1.0, and 0.7 of the frames 0.7.
    assert set(ladder.levels()) <= {3, 4}
    assert 0.78 < price.load(ladder.work()) <= 0.8


demands = st.builds(Demand, fps=st.sampled_from((0.0, 0.5, 2.0, 30.0)))


@given(
    st.lists(
        st.one_of(st.sampled_from((0.0, 0.7, 3.0)), st.tuples(st.sampled_from("abc"), demands)),
        max_size=12,
    )
)
def test_the_work_is_that_of_the_newest_demands_on_the_rungs_of_now(
    steps: list[float | tuple[str, Demand]],
) -> None:
    ladder = Ladder(target_load=0.6, step_down_s=1.0, step_up_s=1.0)
    offered = dict.fromkeys("abc", Demand())
    for name, demand in offered.items():
        ladder.join(name, Tier.STANDARD, demand=demand)
    for now_s, step in enumerate(steps):
        if isinstance(step, tuple):
            offered[step[0]] = step[1]
            ladder.note_demand(*step)
        else:
            ladder.update(step, 10.0 * now_s)
        now = Work()
        for name, demand in offered.items():
            now += demand.work(ladder.quality(name))
        assert ladder.work() == now
