"""What the drawn world is made of: colours, shapes, sizes, digit glyphs, tones, and its numbers.

`clients/web/world.js` carries the same table and the same integer generator, so that one seed
gives one world in both languages. Only operations that IEEE 754 fixes to the last bit (+ - * /
and comparisons) are used on the way from seed to state; no sine, no power, no library random.
"""

from __future__ import annotations

from typing import Final

MASK: Final = 0xFFFFFFFF

COLORS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (215, 30, 40),
    "green": (35, 165, 60),
    "blue": (35, 80, 225),
    "yellow": (240, 215, 40),
    "purple": (145, 50, 190),
    "orange": (245, 125, 20),
}
SHAPES: Final = ("circle", "square", "triangle", "star", "cross")
SIZES: Final[dict[str, float]] = {"small": 0.125, "large": 0.165}
"""Radii of objects, as fractions of the shorter side of the frame."""

PLACES: Final[dict[str, tuple[float, float]]] = {
    "left": (0.17, 0.5),
    "right": (0.83, 0.5),
    "top": (0.5, 0.17),
    "bottom": (0.5, 0.83),
    "middle": (0.5, 0.5),
}
"""Where objects rest, in unit coordinates (x to the right, y down)."""
JITTER: Final = 0.02
"""The greatest distance of a resting object from its place, in x and in y; it is far less than the
distance to the line to the next place."""

SIGN_WIDTH: Final = 0.275
SIGN_HEIGHT: Final = 0.3
SIGN_MARGIN: Final = 0.015
"""Width, height and margin of the plate in the top right corner, in fractions of the shorter side
of the frame."""

TONES: Final[tuple[tuple[int, int, int], ...]] = (
    (58, 60, 66),
    (188, 186, 180),
    (72, 66, 60),
    (170, 178, 186),
    (52, 62, 60),
    (196, 188, 172),
    (66, 58, 68),
    (176, 186, 174),
    (44, 46, 52),
    (204, 202, 204),
)
"""Tones of backgrounds. Even ones are dark and odd ones light; scenes alternate, so that a cut
always shows."""
TILTS: Final[tuple[tuple[float, float], ...]] = (
    (1.0, 0.0),
    (0.7, 0.7),
    (0.0, 1.0),
    (-0.7, 0.7),
    (-1.0, 0.0),
    (-0.7, -0.7),
    (0.0, -1.0),
    (0.7, -0.7),
)
GRADIENT: Final = 26.0
"""Grey levels from one edge of the background to the other, along its tilt."""
GRAIN: Final = 7.0
"""Greatest strength of the background's texture, in grey levels."""
GRAIN_CELLS: Final = 9

STAR_INNER: Final = 0.46
SQUARE_HALF: Final = 0.86
TRIANGLE_OUTER: Final = 1.18
STAR_OUTER: Final = 1.14
CROSS_ARM: Final = 0.36
"""Proportions of the shapes, as multiples of the object's radius."""

GLYPHS: Final[tuple[tuple[str, ...], ...]] = (
    (" ### ", "#   #", "#   #", "#   #", "#   #", "#   #", " ### "),
    ("  #  ", " ##  ", "# #  ", "  #  ", "  #  ", "  #  ", "#####"),
    (" ### ", "#   #", "    #", "   # ", "  #  ", " #   ", "#####"),
    ("#### ", "    #", "    #", " ### ", "    #", "    #", "#### "),
    ("#  # ", "#  # ", "#  # ", "#####", "   # ", "   # ", "   # "),
    ("#####", "#    ", "#    ", "#### ", "    #", "    #", "#### "),
    (" ### ", "#    ", "#    ", "#### ", "#   #", "#   #", " ### "),
    ("#####", "    #", "   # ", "   # ", "  #  ", "  #  ", "  #  "),
    (" ### ", "#   #", "#   #", " ### ", "#   #", "#   #", " ### "),
    (" ### ", "#   #", "#   #", " ####", "    #", "    #", " ### "),
)
PLATE: Final = (246, 246, 242)
INK: Final = (16, 16, 20)

SCENE_MS: Final = 24_000
"""The mean length of a scene. Scene k starts at k * SCENE_MS, plus a jitter below SCENE_JITTER_MS
unless k is 0."""
SCENE_JITTER_MS: Final = 9_000
MIN_GAP_MS: Final = 1_200
"""Two events are at least this far apart, so that clips a second long hold one at most."""
SPEED: Final = (0.12, 0.19)
"""The slowest and fastest speed in unit lengths a second: half a second covers 6 to 9.5 percent of
the frame."""


def fmix(value: int) -> int:
    """Scrambles the 32 bits of a number."""
    value ^= value >> 16
    value = (value * 0x85EBCA6B) & MASK
    value ^= value >> 13
    value = (value * 0xC2B2AE35) & MASK
    return value ^ (value >> 16)


def mix(*parts: int) -> int:
    """One 32-bit number from several; order matters."""
    value = 0x9E3779B9
    for part in parts:
        value = fmix((value ^ part) & MASK)
        value = (value * 5 + 0x3C6EF372) & MASK
    return fmix(value)


class Rng:
    """Random numbers, 32 bits a step: a counter through `fmix`, as in the JavaScript client."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & MASK

    def bits(self) -> int:
        """The next 32 random bits."""
        self._state = (self._state + 0x9E3779B9) & MASK
        return fmix(self._state)

    def below(self, n: int) -> int:
        """A random whole number in [0, n); n must be below 2**20."""
        return (self.bits() * n) >> 32

    def uniform(self, low: float, high: float) -> float:
        """A random number in [low, high)."""
        return low + (high - low) * (self.bits() / 4294967296.0)
