"""The boundary test against pictures whose events are known: cuts, fades, noise, motion."""

import asyncio
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame, Pixels
from onlooker.watches.triggers.boundary import BoundaryTrigger
from onlooker.watches.triggers.interface import Signals
from tests.unit.watches.triggers.oracle import Oracle, letter


def clip_of(index: int, pixels: Pixels) -> Clip:
    frame = Frame(index, float(index), 0.0, pixels)
    return Clip(StreamId("door"), index, (frame, frame))


def gray(level: float) -> Pixels:
    return np.full((48, 64, 3), round(level), np.uint8)


def noisy(level: float, seed: int) -> Pixels:
    noise = np.random.default_rng(seed).normal(0, 12, (48, 64, 3))
    return np.clip(level + noise, 0, 255).astype(np.uint8)


def with_square(left: int, *, color: int = 255) -> Pixels:
    """A bright square, a fiftieth of the picture, on grey."""
    pixels = gray(100)
    pixels[20:28, left : left + 8] = color
    return pixels


def run(trigger: BoundaryTrigger, pictures: Iterable[Pixels]) -> str:
    """One letter a clip: S speak, . silent."""

    async def all_clips() -> str:
        found = [
            await trigger.on_clip(clip_of(index, pixels), Signals(1.0), Oracle())
            for index, pixels in enumerate(pictures)
        ]
        return "".join(letter(decision) for decision in found)

    return asyncio.run(all_clips())


def test_a_cut_is_told_once_and_the_next_event_has_a_usual_of_its_own() -> None:
    pictures = [gray(100)] * 8 + [gray(180)] * 8 + [gray(90)] * 3
    assert run(BoundaryTrigger(), pictures) == "........S.......S.."


def test_nothing_is_told_before_the_usual_is_known() -> None:
    pictures = [gray(100)] * 3 + [gray(180)] * 6 + [gray(100)]
    assert run(BoundaryTrigger(min_history=5), pictures) == ".........S"


def test_a_steady_fade_is_expected_and_its_end_by_a_cut_is_not() -> None:
    fade = [gray(40 + 6 * step) for step in range(20)]
    assert run(BoundaryTrigger(), [*fade, gray(20)]) == "." * 20 + "S"


def test_noise_is_usual_and_what_stands_out_of_it_is_told() -> None:
    pictures = [noisy(100, seed) for seed in range(60)] + [noisy(130, 60)]
    assert run(BoundaryTrigger(), pictures) == "." * 60 + "S"


def test_a_small_thing_that_comes_is_told() -> None:
    assert run(BoundaryTrigger(), [gray(100)] * 6 + [with_square(8)] * 2) == "......S."


def test_what_is_hardly_to_be_seen_is_not_told() -> None:
    faint = with_square(8, color=108)
    assert run(BoundaryTrigger(), [gray(100)] * 8 + [faint] * 4) == "." * 12


def test_motion_is_told_where_it_begins_and_not_while_it_goes_on() -> None:
    still, moving = [with_square(0)] * 8, [with_square(6 * step) for step in range(1, 10)]
    assert run(BoundaryTrigger(), still + moving) == "........S........"


def test_fewer_deviations_make_it_speak_of_less() -> None:
    flicker = [gray(100 + 8 * (step % 2)) for step in range(12)]
    more = [*flicker, gray(128)]
    assert run(BoundaryTrigger(deviations=4.0), more) == "." * 13
    assert run(BoundaryTrigger(deviations=1.0), more) == "." * 12 + "S"


def test_before_a_dearer_trigger_the_first_clip_passes() -> None:
    assert run(BoundaryTrigger(passes_first=True), [gray(100)] * 3) == "S.."


def test_a_clip_that_was_passed_over_is_known_and_not_told_later() -> None:
    trigger = BoundaryTrigger()
    run(trigger, [gray(100)] * 8)
    trigger.passed_over(clip_of(8, gray(180)))
    assert run(trigger, [gray(180)] * 3) == "..."


def test_a_change_of_the_size_of_the_pictures_alone_is_no_boundary() -> None:
    larger = [np.full((480, 640, 3), 100, np.uint8)] * 3
    assert run(BoundaryTrigger(), [gray(100)] * 8 + larger) == "." * 11


LEVELS = st.lists(st.integers(0, 255), max_size=15)


@settings(max_examples=40)
@given(past=st.lists(st.integers(0, 255), min_size=8, max_size=20), one=LEVELS, other=LEVELS)
def test_what_comes_later_changes_nothing_that_was_decided(
    past: list[int], one: list[int], other: list[int]
) -> None:
    def decide(levels: list[int]) -> str:
        return run(BoundaryTrigger(deviations=1.0), [gray(level) for level in levels])

    assert decide(past + one)[: len(past)] == decide(past + other)[: len(past)]


@settings(max_examples=40)
@given(levels=st.lists(st.integers(0, 255), max_size=40), deviations=st.floats(0.5, 10))
def test_an_event_lasts_as_long_as_it_takes_to_know_it(
    levels: list[int], deviations: float
) -> None:
    trigger = BoundaryTrigger(deviations=deviations, min_history=3)
    found = run(trigger, [gray(level) for level in levels])
    told = [-1, *(index for index, said in enumerate(found) if said == "S")]
    assert all(later - sooner > 3 for sooner, later in pairwise(told))
