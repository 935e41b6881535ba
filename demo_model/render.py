"""Draws a scene into pixels with numpy, and spoils the picture the way cameras and codecs do.

Shapes are drawn from signed distances (antialiased at any size). Backgrounds, plates and the
masks of objects at rest are kept in small caches: at 72x72 a frame costs well under half a
millisecond.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from onlooker.demo_model.table import (
    COLORS,
    CROSS_ARM,
    GLYPHS,
    GRADIENT,
    GRAIN,
    GRAIN_CELLS,
    INK,
    PLATE,
    SIGN_HEIGHT,
    SIGN_MARGIN,
    SIGN_WIDTH,
    SIZES,
    SQUARE_HALF,
    STAR_INNER,
    STAR_OUTER,
    TILTS,
    TONES,
    TRIANGLE_OUTER,
    Rng,
)
from onlooker.demo_model.world import Background, Scene, World

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

MAX_SIDE = 8192


def render(scene: Scene, width: int, height: int, aspect: float | None = None) -> Image:
    """uint8[height, width, 3] of a scene.

    `aspect` is the shape (width / height) of the frame as it was filmed, when the picture is
    squashed to another one: render(s, 72, 72, aspect=4/3) is what a 640x480 frame looks like
    after a resize to 72x72. Without it pixels are square.
    """
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ValueError(f"a frame has 1 to {MAX_SIDE} pixels a side, not {width}x{height}")
    unit_x, unit_y = _units(width, height, aspect)
    canvas = _background(scene.background, width, height).copy()
    for o in scene.objects:
        x, y = round(o.x * width, 3), round(o.y * height, 3)
        draw = _mask if o.moving else _kept_mask
        left, top, mask = draw(
            o.shape, SIZES[o.size] * unit_x, SIZES[o.size] * unit_y, x, y, width, height
        )
        part = canvas[top : top + mask.shape[0], left : left + mask.shape[1]]
        part += mask * (np.array(COLORS[o.color], np.float32) - part)
    if scene.sign is not None:
        left, top, cover, plate = _plate(scene.sign, unit_x, unit_y, width, height)
        part = canvas[top : top + cover.shape[0], left : left + cover.shape[1]]
        part += cover * (plate - part)
    return canvas.astype(np.uint8)


def render_batch(
    scenes: Sequence[Scene], width: int, height: int, aspect: float | None = None
) -> Image:
    """uint8[n, height, width, 3] of several scenes."""
    pixels = np.empty((len(scenes), height, width, 3), np.uint8)
    for at, scene in enumerate(scenes):
        pixels[at] = render(scene, width, height, aspect)
    return pixels


def _units(width: int, height: int, aspect: float | None) -> tuple[float, float]:
    """How many pixels, across and down, the shorter side of the filmed frame covers."""
    filmed = width / height if aspect is None else aspect
    if filmed >= 1.0:
        return width / filmed, float(height)
    return float(width), height * filmed


@lru_cache(maxsize=16)
def _background(background: Background, width: int, height: int) -> Floats:
    """float32[height, width, 3]: the background, half a level added so that truncation rounds."""
    x = (np.arange(width, dtype=np.float32) + np.float32(0.5)) / np.float32(width)
    y = (np.arange(height, dtype=np.float32) + np.float32(0.5)) / np.float32(height)
    tilt_x, tilt_y = TILTS[background.tilt]
    level = GRADIENT * (tilt_x * (x[None, :] - 0.5) + tilt_y * (y[:, None] - 0.5))
    rng = Rng(background.grain)
    cells = [rng.uniform(-GRAIN, GRAIN) for _ in range(GRAIN_CELLS * GRAIN_CELLS)]
    grid = np.array(cells, np.float32).reshape(GRAIN_CELLS, GRAIN_CELLS)
    level = level + _stretch(y, GRAIN_CELLS) @ grid @ _stretch(x, GRAIN_CELLS).T
    tone = np.array(TONES[background.tone], np.float32)
    return np.clip(level[:, :, None] + tone + 0.5, 0.5, 255.4).astype(np.float32)


def _stretch(at: Floats, cells: int) -> Floats:
    """float32[n, cells]: weights that read a row of cells at positions in [0, 1], linearly."""
    place = at * (cells - 1)
    return np.clip(1.0 - np.abs(place[:, None] - np.arange(cells)), 0.0, 1.0).astype(np.float32)


def _mask(
    shape: str, rx: float, ry: float, x: float, y: float, width: int, height: int
) -> tuple[int, int, Floats]:
    """(left, top, float32[h, w, 1]): how much of each pixel near (x, y) the shape covers, 0..1."""
    left, right = max(int(x - rx * 1.2) - 1, 0), min(int(x + rx * 1.2) + 2, width)
    top, bottom = max(int(y - ry * 1.2) - 1, 0), min(int(y + ry * 1.2) + 2, height)
    u = ((np.arange(left, right, dtype=np.float32) + np.float32(0.5 - x)) / np.float32(rx))[None, :]
    v = ((np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - y)) / np.float32(ry))[:, None]
    distance = _distance(shape, u, v)
    mask = np.clip(0.5 - distance * np.float32(0.5 * (rx + ry)), 0.0, 1.0)
    return left, top, mask[:, :, None].astype(np.float32)


_kept_mask = lru_cache(maxsize=64)(_mask)


def _distance(shape: str, u: Floats, v: Floats) -> Floats:
    """Signed distance to the shape's edge in radii, negative inside; u is right, v is down."""
    result: Floats
    if shape == "circle":
        result = np.sqrt(u * u + v * v) - np.float32(1.0)
    elif shape == "square":
        result = np.maximum(np.abs(u), np.abs(v)) - np.float32(SQUARE_HALF)
    elif shape == "triangle":
        slope = np.float32(0.8660254) * np.abs(u) - np.float32(0.5) * (v - np.float32(0.12))
        result = np.maximum(v - np.float32(0.12), slope) - np.float32(0.5 * TRIANGLE_OUTER)
    elif shape == "star":
        turn = np.float32(2.0 * np.pi / 5.0)
        angle = np.abs((np.arctan2(u, -v) + np.float32(0.5) * turn) % turn - np.float32(0.5) * turn)
        radius = np.sqrt(u * u + v * v)
        along, aside = radius * np.cos(angle), radius * np.sin(angle)
        inner_x = STAR_OUTER * STAR_INNER * np.cos(np.pi / 5.0)
        inner_y = STAR_OUTER * STAR_INNER * np.sin(np.pi / 5.0)
        edge = np.hypot(STAR_OUTER - inner_x, inner_y)
        nx, ny = np.float32(inner_y / edge), np.float32((STAR_OUTER - inner_x) / edge)
        result = (along - np.float32(STAR_OUTER)) * nx + aside * ny
    elif shape == "cross":
        arm = np.float32(CROSS_ARM)
        au, av = np.abs(u), np.abs(v)
        result = np.minimum(
            np.maximum(au - arm, av - np.float32(1.0)), np.maximum(av - arm, au - np.float32(1.0))
        )
    else:
        raise ValueError(f"no such shape: {shape!r}")
    return result


@lru_cache(maxsize=64)
def _plate(
    digit: int, unit_x: float, unit_y: float, width: int, height: int
) -> tuple[int, int, Floats, Floats]:
    """(left, top, cover float32[h, w, 1], picture float32[h, w, 3]) of the sign."""
    x1, y0 = width - SIGN_MARGIN * unit_x, SIGN_MARGIN * unit_y
    x0, y1 = x1 - SIGN_WIDTH * unit_x, y0 + SIGN_HEIGHT * unit_y
    left, top = max(int(x0), 0), int(y0)
    columns, rows = np.arange(left, width), np.arange(top, min(int(y1) + 1, height))
    cover = np.outer(_overlap(rows, y0, y1), _overlap(columns, x0, x1))
    cell_x, cell_y = (x1 - x0) / 7.0, (y1 - y0) / 9.0
    across = np.stack(
        [_overlap(columns, x0 + (i + 1) * cell_x, x0 + (i + 2) * cell_x) for i in range(5)]
    )
    down = np.stack(
        [_overlap(rows, y0 + (i + 1) * cell_y, y0 + (i + 2) * cell_y) for i in range(7)]
    )
    bits = np.array([[c == "#" for c in row] for row in GLYPHS[digit]], np.float64)
    ink = (down.T @ bits @ across)[:, :, None]
    picture = np.array(PLATE) + ink * (np.array(INK, np.float64) - np.array(PLATE)) + 0.5
    return left, top, cover[:, :, None].astype(np.float32), picture.astype(np.float32)


def _overlap(pixels: NDArray[np.int64], start: float, end: float) -> NDArray[np.float64]:
    """How much of each pixel lies between two positions, 0 to 1."""
    return np.clip(np.minimum(pixels + 1.0, end) - np.maximum(pixels + 0.0, start), 0.0, 1.0)


def augment(image: Image, rng: np.random.Generator) -> Image:
    """The picture after a random camera and codec: light, blur, noise, shift, JPEG. Same size."""
    return augment_clip(image[None], rng)[0]


def augment_clip(clip: Image, rng: np.random.Generator) -> Image:
    """uint8[n, height, width, 3] spoiled as one: the same light, blur and quality throughout."""
    pixels = clip.astype(np.float32)
    if rng.random() < 0.7:
        contrast, light = rng.uniform(0.8, 1.2), rng.uniform(-22.0, 22.0)
        tint = rng.uniform(0.94, 1.06, 3)
        pixels = ((pixels - 128.0) * contrast + 128.0 + light) * tint.astype(np.float32)
    if rng.random() < 0.4:
        pixels = _blur(pixels, float(rng.uniform(0.05, 0.2)))
    if rng.random() < 0.4:
        noise = rng.standard_normal(pixels.shape, np.float32)
        pixels = pixels + noise * np.float32(rng.uniform(1.0, 8.0))
    out = np.clip(pixels, 0.0, 255.0).astype(np.uint8)
    if rng.random() < 0.35:
        rows = np.clip(np.arange(out.shape[1]) + int(rng.integers(-1, 2)), 0, out.shape[1] - 1)
        columns = np.clip(np.arange(out.shape[2]) + int(rng.integers(-1, 2)), 0, out.shape[2] - 1)
        out = out[:, rows[:, None], columns[None, :]]
    if rng.random() < 0.7:
        quality = int(rng.integers(50, 96))
        out = np.stack([jpeg(image, quality) for image in out])
    return out


def _blur(pixels: Floats, side: float) -> Floats:
    """A 3x3 blur that gives each neighbour along an axis the weight `side`."""
    for axis in (-3, -2):
        sides = np.roll(pixels, 1, axis) + np.roll(pixels, -1, axis)
        pixels = pixels * np.float32(1.0 - 2.0 * side) + sides * np.float32(side)
    return pixels


def frames(
    seed: int,
    fps: float,
    width: int,
    height: int,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Iterator[tuple[float, Image]]:
    """(t, uint8[height, width, 3]) at a constant rate, endless unless a duration is given.

    Frame n shows the world at start_s + n / fps; t is that time. Pacing is the caller's.
    """
    if not fps > 0:
        raise ValueError(f"frames a second must be above 0, not {fps}")
    world = World(seed)
    number = 0
    while duration_s is None or number < duration_s * fps - 1e-6:
        t = start_s + number / fps
        yield t, render(world.state_at(t), width, height)
        number += 1


def jpeg(image: Image, quality: int) -> Image:
    """The picture after JPEG at a quality (1 to 95) and back."""
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Pillow.open(buffer).convert("RGB"))


def resize(image: Image, width: int, height: int) -> Image:
    """The picture squashed to another size (area-weighted bilinear), as a server does."""
    from PIL import Image as Pillow

    small = Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BILINEAR)
    return np.asarray(small)


def training_clip(scenes: Sequence[Scene], side: int, rng: np.random.Generator) -> Image:
    """uint8[n, side, side, 3]: the frames of one clip, filmed and spoiled alike.

    Most are drawn straight at the final size (fast); the others are drawn larger, go through
    JPEG there as a client's would, and are resized. Frames that show the same thing still differ
    in their noise.
    """
    aspect = float(rng.choice((1.0, 4 / 3, 4 / 3, 16 / 9, 3 / 4)))
    if rng.random() < 0.7:
        return augment_clip(render_batch(scenes, side, side, aspect), rng)
    scale = float(rng.uniform(1.0, 2.5))
    width, height = int(side * scale * max(aspect, 1.0)), int(side * scale / min(aspect, 1.0))
    quality = int(rng.integers(35, 96)) if rng.random() < 0.8 else None
    filmed = [render(scene, width, height) for scene in scenes]
    if quality is not None:
        filmed = [jpeg(image, quality) for image in filmed]
    return augment_clip(np.stack([resize(image, side, side) for image in filmed]), rng)
