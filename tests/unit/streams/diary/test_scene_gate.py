"""Which clips are worth a sentence, by their pixels."""

import numpy as np

from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame, Pixels
from onlooker.streams.diary.scene_gate import News, Novelty, SceneGate

GREY = 128


def picture(*things: tuple[int, int, tuple[int, int, int]]) -> Pixels:
    """A grey picture with squares of 8 pixels at (left, top)."""
    pixels = np.full((72, 72, 3), GREY, np.uint8)
    for left, top, colour in things:
        pixels[top : top + 8, left : left + 8] = colour
    return pixels


def measure(*pictures: Pixels) -> list[Novelty]:
    return [one.novelty for one in news(*pictures)]


def news(*pictures: Pixels) -> list[News]:
    gate = SceneGate()
    found = []
    for index, pixels in enumerate(pictures):
        frame = Frame(index, float(index), 0.0, pixels)
        found.append(gate.measure(Clip(StreamId("door"), index, (frame, frame))))
    return found[1:]


RED, BLUE, BLACK = (220, 30, 30), (30, 30, 220), (0, 0, 0)


def test_the_first_clip_begins_a_scene() -> None:
    frame = Frame(0, 0.0, 0.0, picture())
    clip = Clip(StreamId("door"), 0, (frame, frame))
    assert SceneGate().measure(clip).novelty is Novelty.SCENE


def test_another_picture_altogether_is_another_scene() -> None:
    assert measure(picture(), np.zeros((72, 72, 3), np.uint8)) == [Novelty.SCENE]


def test_what_comes_and_what_goes_is_a_change() -> None:
    there = picture((30, 30, RED))
    assert measure(picture(), there, there, picture()) == [
        Novelty.CHANGE,
        Novelty.NOTHING,
        Novelty.CHANGE,
    ]


def test_what_begins_to_move_is_a_change_and_what_moves_on_is_none() -> None:
    steps = [picture((left, 30, RED)) for left in (10, 10, 18, 26, 34)]
    assert measure(*steps) == [
        Novelty.NOTHING,
        Novelty.CHANGE,
        Novelty.NOTHING,
        Novelty.NOTHING,
    ]


def test_a_change_without_colour_beside_what_moves_is_one() -> None:
    steps = [picture((left, 50, RED)) for left in (10, 18, 26)]
    steps.append(picture((34, 50, RED), (60, 4, BLACK)))
    assert measure(*steps)[-1] is Novelty.CHANGE


def test_colours_that_the_picture_has_more_of_are_told_and_others_are_not() -> None:
    red = picture((30, 30, RED))
    both = picture((40, 30, RED), (10, 10, BLUE))
    assert [one.colors for one in news(picture(), red, both, red, picture((30, 30, BLUE)))] == [
        {"red"},
        {"blue"},
        frozenset(),
        {"blue"},
    ]


def test_a_third_of_the_picture_is_another_scene() -> None:
    part = picture()
    part[:26] = RED
    assert measure(picture(), part) == [Novelty.SCENE]
