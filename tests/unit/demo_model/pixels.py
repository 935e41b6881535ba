"""Reads colours, shapes and digits out of pixels, without the code that drew them.

Shapes are compared with polygons that Pillow fills; colours with the nearest of the table.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from onlooker.demo_model.table import COLORS, GLYPHS, SHAPES
from onlooker.demo_model.world import Obj

Pixels = NDArray[np.uint8]


def _corners(shape: str, radius: float) -> list[tuple[float, float]]:
    """The outline of a shape around (0, 0), y down."""
    if shape == "circle":
        return [
            (radius * math.cos(k * math.pi / 32), radius * math.sin(k * math.pi / 32))
            for k in range(64)
        ]
    if shape == "square":
        h = 0.86 * radius
        return [(-h, -h), (h, -h), (h, h), (-h, h)]
    if shape == "triangle":
        r = 1.18 * radius
        ring = [math.radians(-90 + 120 * k) for k in range(3)]
        return [(r * math.cos(g), r * math.sin(g) + 0.12 * radius) for g in ring]
    if shape == "star":
        r = 1.14 * radius
        return [
            (
                r * (1, 0.46)[k % 2] * math.cos(math.radians(-90 + 36 * k)),
                r * (1, 0.46)[k % 2] * math.sin(math.radians(-90 + 36 * k)),
            )
            for k in range(10)
        ]
    arm, r = 0.36 * radius, radius
    return [
        (-arm, -r), (arm, -r), (arm, -arm), (r, -arm), (r, arm), (arm, arm),
        (arm, r), (-arm, r), (-arm, arm), (-r, arm), (-r, -arm), (-arm, -arm),
    ]  # fmt: skip


def _stencil(shape: str, o: Obj, width: int, height: int) -> NDArray[np.bool_]:
    """bool[height, width]: which pixels a shape at the object's place would cover."""
    scale = 4 if min(width, height) < 200 else 1
    picture = Image.new("L", (width * scale, height * scale))
    radius = o.radius * min(width, height)
    corners = [
        ((o.x * width + x) * scale, (o.y * height + y) * scale) for x, y in _corners(shape, radius)
    ]
    ImageDraw.Draw(picture).polygon(corners, fill=255)
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX)) > 127


def read_color(image: Pixels, o: Obj) -> str:
    """The table colour nearest to the median around an object's centre."""
    height, width = image.shape[:2]
    reach = max(int(o.radius * min(width, height) * 0.25), 1)
    x, y = int(o.x * width), int(o.y * height)
    patch = image[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
    middle = np.median(patch.reshape(-1, 3), axis=0)
    return min(COLORS, key=lambda name: float(np.abs(middle - np.array(COLORS[name])).sum()))


def read_shape(image: Pixels, o: Obj) -> str:
    """The shape whose polygon fits best what has the object's colour around it."""
    height, width = image.shape[:2]
    color = np.array(COLORS[read_color(image, o)], np.float32)
    reach = o.radius * min(width, height) * 1.3
    x, y = o.x * width, o.y * height
    corner = image[0, 0].astype(np.float32)
    pixels = image.astype(np.float32)
    painted = np.abs(pixels - color).sum(-1) < np.abs(pixels - corner).sum(-1)
    rows, columns = np.mgrid[0:height, 0:width]
    painted &= (np.abs(columns + 0.5 - x) < reach) & (np.abs(rows + 0.5 - y) < reach)

    def fit(shape: str) -> float:
        stencil = _stencil(shape, o, width, height)
        return float((stencil & painted).sum() / max((stencil | painted).sum(), 1))

    return max(SHAPES, key=fit)


def read_digit(image: Pixels) -> int | None:
    """The digit in the top right corner, or None when there is no white plate."""
    height, width = image.shape[:2]
    unit = min(width, height)
    x1, y0 = width - 0.015 * unit, 0.015 * unit
    cell_x, cell_y = 0.275 * unit / 7, 0.3 * unit / 9
    x0 = x1 - 7 * cell_x
    frame = image[int(y0 + 1) : int(y0 + 8 * cell_y), int(x0 + 1) : int(x0 + cell_x * 0.9)]
    if frame.mean() < 225:
        return None

    def cell(row: int, column: int) -> float:
        x, y = x0 + (column + 1.5) * cell_x, y0 + (row + 1.5) * cell_y
        return float(image[int(y), int(x)].mean())

    dark = [[cell(row, column) < 128 for column in range(5)] for row in range(7)]
    misses = [
        sum(dark[r][c] != (glyph[r][c] == "#") for r in range(7) for c in range(5))
        for glyph in GLYPHS
    ]
    return int(np.argmin(misses))
