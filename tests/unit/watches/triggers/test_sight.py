"""Which clips spare a question: colours, regions and cuts, against pictures drawn by hand."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame, Pixels
from onlooker.engine.wording import Needs
from onlooker.watches.triggers.change import ChangeMeter
from onlooker.watches.triggers.interface import Signals, Silent
from onlooker.watches.triggers.patches import changed_share
from onlooker.watches.triggers.sight import HUE_DEGREES, SightGate, colors_in, look_at
from onlooker.watches.triggers.yes_no import YesNoTrigger
from tests.unit.watches.triggers.oracle import Oracle

PAINT = {
    "red": (215, 30, 40), "orange": (245, 125, 20), "yellow": (240, 215, 40),
    "green": (35, 165, 60), "cyan": (20, 200, 210), "blue": (35, 80, 225),
    "purple": (145, 50, 190), "pink": (230, 60, 160),
}  # fmt: skip


def picture(*things: tuple[str, int, int], tone: int = 60) -> Pixels:
    """48 x 48 with squares of 10 pixels: colour, left, top."""
    pixels = np.full((48, 48, 3), tone, np.uint8)
    for color, left, top in things:
        pixels[top : top + 10, left : left + 10] = PAINT[color]
    return pixels


def make_clip(index: int, first: Pixels, second: Pixels | None = None) -> Clip:
    frame = Frame(2 * index, float(index), 0.0, first)
    last = frame if second is None else Frame(2 * index + 1, index + 0.5, 0.0, second)
    return Clip(StreamId("door"), index, (frame, last))


def asked(
    needs: Needs,
    pictures: Sequence[Pixels | tuple[Pixels, Pixels]],
    answers: Sequence[float | None] = (),
    *,
    about_event: bool = False,
) -> str:
    """One letter a clip: a where the model is asked, x where that was lost, . where not.

    `answers`: the probabilities of yes that it gives in turn.
    """
    gate = SightGate(needs, about_event=about_event, min_change=0.006, min_color=0.008)
    trigger = YesNoTrigger(threshold=0.5, about_event=about_event, gate=gate)
    meter, left, letters = ChangeMeter(), list(answers), ""
    for index, shown in enumerate(pictures):
        pair = shown if isinstance(shown, tuple) else (shown,)
        clip = make_clip(index, *pair)
        oracle = Oracle(yes=left[0] if left else 0.1)
        try:
            decision = asyncio.run(trigger.on_clip(clip, meter.measure(clip), oracle))
        except Exception:
            decision = None
        if oracle.asked and left:
            left.pop(0)
        letters += "x" if decision is None else "a" if oracle.asked else "."
        assert oracle.asked or (isinstance(decision, Silent) and decision.why == "unneeded")
    return letters


RED = Needs(color="red circle")
NOTHING, HERE, THERE = picture(), picture(("red", 5, 5)), picture(("red", 30, 30))
BLUE = picture(("blue", 5, 5))


@pytest.mark.parametrize("color", HUE_DEGREES)
def test_every_colour_is_seen_under_its_name_only(color: str) -> None:
    (look,) = look_at(make_clip(0, picture((color, 10, 10))))
    shares = dict(zip(HUE_DEGREES, look.hues, strict=True))
    assert shares.pop(color) == pytest.approx(100 / 48**2)
    assert not any(shares.values())


def test_a_thing_of_a_colour_can_only_have_come_where_there_is_more_of_it() -> None:
    assert asked(RED, [NOTHING, BLUE, NOTHING, HERE]) == "...a"
    assert asked(RED, [HERE, THERE, HERE]) == "a..", "it moved"


def test_while_the_answer_is_yes_only_less_of_the_colour_can_change_it() -> None:
    two = picture(("red", 5, 5), ("red", 30, 30))
    assert asked(RED, [NOTHING, HERE, two, HERE, NOTHING, HERE], [0.9, 0.9, 0.1, 0.9]) == ".a.aaa"


def test_what_went_unasked_does_not_hide_what_comes() -> None:
    """The red square that goes while the answer is no leaves room for a red circle."""
    assert asked(RED, [HERE, NOTHING, THERE], [0.1, 0.9]) == "a.a"


def test_a_slow_arrival_adds_up() -> None:
    grown = [NOTHING.copy() for _ in range(5)]
    for index, pixels in enumerate(grown):
        pixels[10 : 10 + 3 * index, 10:14] = PAINT["red"]
    assert asked(RED, grown) == "..a.a"


def test_what_comes_and_goes_within_a_clip_is_asked_about() -> None:
    assert asked(RED, [NOTHING, (HERE, NOTHING), NOTHING]) == ".a."


def test_another_scene_is_always_asked_about() -> None:
    bright = picture(("red", 5, 5), tone=200)
    for needs in (RED, Needs(cut=True), Needs(region=(0.7, 0.0, 1.0, 0.3))):
        assert asked(needs, [HERE, bright, bright])[1:] == "a."
    assert asked(Needs(cut=True), [HERE, NOTHING, BLUE], about_event=True) == "..."


def test_a_region_is_asked_about_when_something_changes_in_it() -> None:
    corner = Needs(region=(0.5, 0.0, 1.0, 0.5))
    inside, outside = picture(("blue", 30, 5)), picture(("blue", 5, 30))
    assert asked(corner, [NOTHING, outside, inside, inside, NOTHING]) == "a.a.a"
    found = asked(corner, [NOTHING, outside, inside, inside, NOTHING], about_event=True)
    assert found == "..a.a", "nothing can have changed before the first clip"


def test_an_event_of_a_colour_is_more_or_less_of_it() -> None:
    assert asked(RED, [HERE, NOTHING, BLUE, HERE, THERE], about_event=True) == ".a.a."


def test_a_check_that_was_lost_is_due_again_about_a_state() -> None:
    assert asked(RED, [NOTHING, HERE, HERE, HERE], [None, 0.9]) == ".xa."


def test_without_a_measured_sight_the_model_is_asked() -> None:
    gate = SightGate(RED, about_event=False, min_change=0.0, min_color=0.0)
    oracle = Oracle()
    trigger = YesNoTrigger(threshold=0.5, gate=gate)
    asyncio.run(trigger.on_clip(make_clip(0, NOTHING), Signals(1.0), oracle))
    assert oracle.asked


def test_colours_are_found_among_other_words() -> None:
    assert colors_in("a Red circle or the dark-blue, redder star") == ("red", "blue")
    assert colors_in("a mauve circle") == ()
    assert asked(Needs(color="mauve circle"), [NOTHING, NOTHING]) == "aa"


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_the_changed_share_is_that_of_the_patches_one_by_one(
    height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 256, (height, width, 3), np.uint8)
    after = np.where(rng.random((height, width, 1)) < 0.1, 255, before).astype(np.uint8)
    difference = np.abs(before.astype(int) - after).mean(axis=2) / 255
    edges = [np.arange(min(12, n) + 1) * n // min(12, n) for n in (height, width)]
    found = [
        difference[top:bottom, left:right].mean() > 0.04
        for top, bottom in zip(edges[0], edges[0][1:], strict=False)
        for left, right in zip(edges[1], edges[1][1:], strict=False)
    ]
    assert changed_share(before, after) == pytest.approx(np.mean(found))
