"""What a camera on a wall sees, second by second, and what befalls it. Drawn, with a seed."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from onlooker.core.media import Pixels

SIZE = 112
NOISE = 1.5
"""Standard deviation of the sensor's noise, in levels of brightness."""

View = NDArray[np.float32]
"""RGB before the sensor, 0-255."""

Change = Callable[[View], View]


def room(seed: int = 1) -> View:
    """A still room, larger than the camera sees, so that the camera can be turned in it."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (3 * SIZE, SIZE), (150, 145, 135))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 75, 3 * SIZE, SIZE), fill=(105, 90, 75))
    for _ in range(90):
        x, y = (int(rng.integers(0, size)) for size in (3 * SIZE, SIZE))
        width, height = (int(size) for size in rng.integers(4, 30, 2))
        colour = tuple(int(c) for c in rng.integers(20, 235, 3))
        draw.rectangle((x, y, x + width, y + height), fill=colour)
    return np.asarray(picture, np.float32)


def looked_at(wide: View, left: int = SIZE) -> View:
    """The part of a room that the camera points at."""
    return wide[:, left : left + SIZE]


class Sensor:
    """Makes pictures of views: noise, and whole numbers."""

    def __init__(self, seed: int = 1, *, noise: float = NOISE) -> None:
        self._rng, self._noise = np.random.default_rng(seed), noise

    def take(self, view: View) -> Pixels:
        noisy = view + self._noise * self._rng.standard_normal(view.shape, np.float32)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def blackened(view: View) -> View:
    return view * 0.01


def covered(view: View) -> View:
    """A hand or a cloth before the lens: one colour, a little lighter at one side."""
    shade = np.linspace(70, 95, view.shape[1], dtype=np.float32)
    return np.broadcast_to(shade[None, :, None], view.shape).copy()


def defocused(view: View, radius: float = 4.5) -> View:
    picture = Image.fromarray(view.astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(picture, np.float32)


def dimmed(share: float) -> Change:
    """The light is so much weaker, as at dusk or with a lamp switched off."""
    return lambda view: view * share


def passed(view: View, at: float, width: float = 0.6) -> View:
    """Something large and dark passes close by; `at` is where its left edge is, 0-1."""
    shown = view.copy()
    left, right = int(at * SIZE), int((at + width) * SIZE)
    shown[:, max(0, left) : max(0, right)] = (40, 45, 50)
    return shown


def walked(view: View, second: int) -> View:
    """Somebody walks about."""
    shown = view.copy()
    left = 15 + (second * 9) % 75
    shown[40:100, left : left + 15] = (60, 40, 160)
    return shown


def seconds(sensor: Sensor, view: View, count: int, *, first: int = 0) -> Iterator[Pixels]:
    """A quiet time with somebody about, a picture a second."""
    for second in range(first, first + count):
        yield sensor.take(walked(view, second))
