"""The drawn world: the same at any time however it is reached, and true to its rules."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.demo_model.render import frames
from onlooker.demo_model.table import COLORS, MIN_GAP_MS, PLACES, SHAPES, SIZES
from onlooker.demo_model.world import CACHED_SCENES, Event, Obj, World

seeds = st.integers(0, 2**32 - 1)
times = st.floats(0.0, 100_000.0, allow_nan=False)


@given(seeds, times)
def test_a_moment_is_the_same_however_it_is_reached(seed: int, t: float) -> None:
    walked = World(seed)
    for back in (5.0, 1.0, 40.0):
        walked.state_at(max(t - back, 0.0))
    assert walked.state_at(t) == World(seed).state_at(t)


def test_ten_hours_in_costs_two_scenes_at_most() -> None:
    world = World(3)
    world.state_at(36_000.0)
    assert len(world._rolls) == 1
    world.events(35_999.0, 36_000.0)
    assert len(world._rolls) <= 2


def test_a_world_keeps_a_bounded_number_of_scenes() -> None:
    world = World(3)
    first = world.state_at(1.0)
    for t in range(0, 24 * (CACHED_SCENES + 20), 8):
        world.state_at(float(t))
    assert len(world._rolls) == CACHED_SCENES
    assert world.state_at(1.0) == first


@given(seeds, times)
def test_a_scene_keeps_the_rules(seed: int, t: float) -> None:
    scene = World(seed).state_at(t)
    assert 1 <= len(scene.objects) <= 3
    assert len({o.kind for o in scene.objects}) == len(scene.objects)
    assert scene.sign is None or 0 <= scene.sign <= 9
    for o in scene.objects:
        assert o.color in COLORS
        assert o.shape in SHAPES
        assert o.size in SIZES
        for along in (o.x, o.y):
            assert o.radius - 0.02 <= along <= 1 - o.radius + 0.02
        _keeps_off_the_sign(o)
        if not o.moving:
            x, y = PLACES[o.place]
            assert abs(o.x - x) <= 0.02
            assert abs(o.y - y) <= 0.02
            assert (o.vx, o.vy) == (0.0, 0.0)
    for a, b in itertools.combinations(scene.objects, 2):
        apart = ((a.x - b.x) ** 2 + (a.y - b.y) ** 2) ** 0.5
        assert apart >= a.radius + b.radius - 0.06


def _keeps_off_the_sign(o: Obj) -> None:
    dx, dy = max(0.71 - o.x, 0.0), max(o.y - 0.315, 0.0)
    assert (dx * dx + dy * dy) ** 0.5 >= o.radius - 0.03


@given(seeds, st.floats(0.0, 40_000.0))
@settings(max_examples=50)
def test_events_are_what_turns_one_state_into_the_next(seed: int, start: float) -> None:
    world = World(seed)
    events = world.events(start, start + 40.0)
    assert [e.t for e in events] == sorted(e.t for e in events)
    edges = [start, *[e.t for e in events], start + 40.0]
    for before, after in itertools.pairwise(edges):
        if after - before > 0.01:
            mid = (before + after) / 2
            assert world.state_at(mid).content() == world.state_at(after - 0.001).content()
    for event in events:
        if event.t >= 0.001:
            _explains(world, event)


def _explains(world: World, event: Event) -> None:
    old, new = world.state_at(event.t - 0.001), world.state_at(event.t)
    assert old.content() != new.content()
    before = {o.ident: o for o in old.objects}
    after = {o.ident: o for o in new.objects}
    if event.kind == "cut":
        assert old.background != new.background
    elif event.kind == "appear":
        assert event.after is not None
        assert event.before is None
        assert after.keys() - before.keys() == {event.after.ident}
    elif event.kind == "leave":
        assert event.before is not None
        assert event.after is None
        assert before.keys() - after.keys() == {event.before.ident}
    elif event.kind == "sign":
        assert (old.sign, new.sign) == (event.sign_before, event.sign_after)
    else:
        assert event.before is not None
        assert event.after is not None
        assert before.keys() == after.keys()
        if event.kind == "color":
            assert event.before.color != event.after.color
        else:
            assert event.after.moving == (event.kind == "start") != event.before.moving


@given(seeds)
@settings(max_examples=30)
def test_events_leave_room_between_them(seed: int) -> None:
    events = World(seed).events(0.0, 300.0)
    gaps = [b.t - a.t for a, b in itertools.pairwise(events)]
    assert min(gaps) >= MIN_GAP_MS / 1000.0 - 1e-9


def test_something_happens_every_few_seconds_but_half_of_the_time_nothing() -> None:
    kinds = set()
    quiet = total = 0
    for seed in range(10):
        world = World(seed)
        events = world.events(0.0, 600.0)
        kinds |= {e.kind for e in events}
        assert 2.0 <= 600.0 / len(events) <= 4.0
        states = [world.state_at(float(t)).content() for t in range(600)]
        quiet += sum(a == b for a, b in itertools.pairwise(states))
        total += 599
    assert kinds == {"appear", "leave", "color", "start", "stop", "sign", "cut"}
    assert 0.5 <= quiet / total <= 0.75


def test_moving_objects_move_clearly() -> None:
    steps = []
    for seed in range(10):
        world = World(seed)
        for t in range(300):
            old = {o.ident: o for o in world.state_at(t + 0.0).objects if o.moving}
            new = {o.ident: o for o in world.state_at(t + 0.5).objects if o.moving}
            if world.state_at(t + 0.0).index == world.state_at(t + 0.5).index:
                steps += [
                    ((new[i].x - o.x) ** 2 + (new[i].y - o.y) ** 2) ** 0.5
                    for i, o in old.items()
                    if i in new and (o.vx, o.vy) == (new[i].vx, new[i].vy)
                ]
    assert len(steps) > 100
    assert min(steps) >= 0.04


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="from 0 to 2\\*\\*32"):
        World(seed)


@pytest.mark.parametrize("t", [-0.1, 1e9, float("nan")])
def test_a_time_out_of_range_is_refused(t: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 10000000 seconds"):
        World(1).state_at(t)


def test_frames_come_at_their_rate_and_show_their_time() -> None:
    shown = list(frames(5, 10.0, 32, 24, start_s=100.0, duration_s=1.0))
    assert [round(t, 6) for t, _ in shown] == [round(100 + i / 10, 6) for i in range(10)]
    assert all(image.shape == (24, 32, 3) for _, image in shown)
    assert len(list(itertools.islice(frames(5, 10.0, 32, 24), 25))) == 25
    with pytest.raises(ValueError, match="above 0"):
        next(frames(5, 0.0, 32, 24))
