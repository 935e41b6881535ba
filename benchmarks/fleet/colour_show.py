"""`ColourShow`: what the streams of a fleet's benchmark show, and how one asks about it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from onlooker.core.jpeg import encode_jpeg
from onlooker.demo_model.render import render
from onlooker.demo_model.table import COLORS
from onlooker.demo_model.world import World

WIDTH, HEIGHT = 128, 96


@dataclass(frozen=True, slots=True)
class ColourShow:
    """Pictures of one colour each."""

    pictures: Mapping[str, bytes]
    """Encoded, by the name of the colour."""
    now: str
    """A question about what is shown now."""
    then: str
    """One about a second of stream time, which takes the place of ``{second}``."""
    condition: str
    """What a watch waits for: that red appears."""


def flat_pictures() -> ColourShow:
    """What the scripted engine tells apart: pictures of nothing but one colour."""
    colours = {
        "red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 220),
        "yellow": (240, 220, 50), "purple": (150, 60, 180), "white": (255, 255, 255),
        "black": (0, 0, 0),
    }  # fmt: skip
    return ColourShow(
        {name: encode_jpeg(np.full((48, 64, 3), rgb, np.uint8)) for name, rgb in colours.items()},
        "What colour?",
        "What colour was it at {second} seconds?",
        "a red picture just appeared",
    )


def drawn_circles() -> ColourShow:
    """What the demo model was trained to see: one circle in its drawn world."""
    scene = World(1).state_at(0.0)
    plain = replace(scene.objects[0], shape="circle", size="large", x=0.5, y=0.5, moving=False)
    pictures = {}
    for colour in COLORS:
        drawn = replace(scene, objects=(replace(plain, color=colour),), sign=None)
        pictures[colour] = encode_jpeg(render(drawn, WIDTH, HEIGHT))
    return ColourShow(
        pictures,
        "What color is the circle?",
        "What color was the circle at {second} seconds?",
        "a red circle appears",
    )
