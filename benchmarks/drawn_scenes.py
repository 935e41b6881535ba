"""Drawn video of two kinds, in any size: what a webcam sees, and a busy place."""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame, Pixels

NOISE = 2.0
"""Standard deviation of a sensor's noise, of 255."""

JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True)
class _Thing:
    """A ball on its way: where it is at a time, by two slow oscillations."""

    colour: tuple[int, int, int]
    radius: float
    """As a share of the height."""
    speeds: tuple[float, float]
    phases: tuple[float, float]

    def box(self, time_s: float, width: int, height: int) -> tuple[float, float, float, float]:
        x, y = (
            0.5 + 0.4 * math.sin(speed * time_s + phase)
            for speed, phase in zip(self.speeds, self.phases, strict=True)
        )
        radius = self.radius * height
        return (
            x * width - radius,
            y * height - radius,
            x * width + radius,
            y * height + radius,
        )


class DrawnScene:
    """A still background with texture, on which things move; noise and JPEG on top.

    Args:
        num_things: how many balls move.
        speed: of the things, in radians a second.
    """

    def __init__(
        self, seed: int, width: int, height: int, *, num_things: int, speed: float
    ) -> None:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(40, 200, (height // 32 + 1, width // 32 + 1, 3), np.uint8)
        self._background = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        self._rng = rng
        self._things = [
            _Thing(
                (int(rng.integers(150, 256)), int(rng.integers(0, 256)), int(rng.integers(0, 100))),
                float(rng.uniform(0.07, 0.11)),
                (speed * float(rng.uniform(0.5, 1.5)), speed * float(rng.uniform(0.5, 1.5))),
                (float(rng.uniform(0, 6.3)), float(rng.uniform(0, 6.3))),
            )
            for _ in range(num_things)
        ]

    @classmethod
    def webcam(cls, seed: int, width: int, height: int) -> "DrawnScene":
        """A still room in which one thing moves."""
        return cls(seed, width, height, num_things=1, speed=0.25)

    @classmethod
    def busy(cls, seed: int, width: int, height: int) -> "DrawnScene":
        """A place where half a dozen things move fast."""
        return cls(seed, width, height, num_things=6, speed=0.7)

    @classmethod
    def crowded(cls, seed: int, width: int, height: int) -> "DrawnScene":
        """A place where a dozen things move fast, so that hardly any part of it stays still."""
        return cls(seed, width, height, num_things=12, speed=0.7)

    def picture(self, time_s: float) -> Pixels:
        """What is seen at a time, as it comes out of a camera and through JPEG."""
        image = self._background.copy()
        draw = ImageDraw.Draw(image)
        for thing in self._things:
            draw.ellipse(thing.box(time_s, *image.size), fill=thing.colour)
        pixels = np.asarray(image, np.float32)
        noisy = pixels + self._rng.normal(0, NOISE, pixels.shape).astype(np.float32)
        buffer = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(
            buffer, "JPEG", quality=JPEG_QUALITY
        )
        return np.asarray(Image.open(buffer).convert("RGB"))

    def clips(self, stream_id: StreamId, count: int) -> Iterator[Clip]:
        """A clip a second, of two frames."""
        for index in range(count):
            first, second = (
                Frame(2 * index + k, index + k / 2, 0.0, self.picture(index + k / 2))
                for k in range(2)
            )
            yield Clip(stream_id, index, (first, second))
