"""`MaskPainter`: paints one stream's masks over its pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from onlooker.core.media import Pixels
from onlooker.streams.masks import Mask

MARGIN_PX = 1
"""Pixels around a mask that are masked too: a picture that was made smaller has some of what is
behind the line in the pixels beside it."""

BLOCKS_PER_SIDE = 8
"""What is blurred is brought to about this many blocks along the shorter side of the picture."""

_MAX_SIZES = 4
"""Sizes of pictures for which the masked parts are held ready; a stream has one, as a rule."""

Part = NDArray[np.bool_]
"""Which pixels of a picture are masked, [height, width]."""


@dataclass(frozen=True, slots=True)
class _Stencils:
    """What to take of each picture of one size: arrays like the picture, 255 where it is taken and
    0 elsewhere, as nothing is faster than taking bits."""

    seen: Pixels
    """Where nothing is masked."""
    not_black: Pixels
    """Where nothing is blacked out."""
    blurred: Pixels | None
    """Where it is blurred and not blacked out; None where nothing is."""


class MaskPainter:
    """Paints the same masks over any number of pictures. Called by one thread at a time."""

    def __init__(self, masks: Sequence[Mask] = ()) -> None:
        self._masks = tuple(masks)
        self._stencils: dict[tuple[int, int], _Stencils] = {}

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to paint."""
        return not self._masks

    def painted(self, pixels: Pixels) -> Pixels:
        """The picture with all masks on it; `pixels` stay as they are."""
        if not self._masks:
            return pixels
        height, width = pixels.shape[:2]
        stencils = self._stencils.get((height, width))
        if stencils is None:
            if len(self._stencils) >= _MAX_SIZES:
                self._stencils.clear()
            stencils = self._stencils[height, width] = self._cut(width, height)
        found = pixels & stencils.seen
        if stencils.blurred is not None:
            # What is black must not shine through what is blurred beside it.
            found |= _blurred(pixels & stencils.not_black) & stencils.blurred
        return found

    def _cut(self, width: int, height: int) -> _Stencils:
        black = np.zeros((height, width), np.bool_)
        blur = np.zeros((height, width), np.bool_)
        for mask in self._masks:
            part = black if mask.effect == "black" else blur
            part |= raster(mask, width, height)
        blur &= ~black
        return _Stencils(
            seen=_stencil(~(black | blur)),
            not_black=_stencil(~black),
            blurred=_stencil(blur) if blur.any() else None,
        )


def _stencil(part: Part) -> Pixels:
    return np.repeat(part[..., None], 3, axis=2).astype(np.uint8) * np.uint8(255)


def raster(mask: Mask, width: int, height: int) -> Part:
    """The pixels of a picture of this size that `mask` covers."""
    corners = np.array(mask.polygon) * (width, height)
    ends = np.roll(corners, -1, axis=0)
    xs, ys = np.arange(width) + 0.5, np.arange(height) + 0.5
    winding = np.zeros((height, width), np.int32)
    crossings = np.zeros((height, width), np.int32)
    for (x1, y1), (x2, y2) in zip(corners, ends, strict=True):
        is_met = (ys >= min(y1, y2)) & (ys < max(y1, y2))
        if not is_met.any():
            continue
        at_x = x1 + (ys[is_met] - y1) * (x2 - x1) / (y2 - y1)
        is_right = xs[None, :] > at_x[:, None]
        winding[is_met] += np.where(is_right, 1 if y2 > y1 else -1, 0)
        crossings[is_met] += is_right
    inside: Part = (winding != 0) | (crossings % 2 == 1)
    return inside | _lines(corners, width, height)


def _lines(corners: NDArray[np.float64], width: int, height: int) -> Part:
    """The pixels that a polygon's lines touch, and those beside them."""
    image = Image.new("1", (width, height))
    draw = ImageDraw.Draw(image)
    points = [(float(x), float(y)) for x, y in corners]
    thickness = 2 * MARGIN_PX + 1
    draw.line([*points, points[0]], fill=1, width=thickness)
    for x, y in points:  # a line has flat ends, and one without a length has nothing
        draw.rectangle((x - MARGIN_PX, y - MARGIN_PX, x + MARGIN_PX, y + MARGIN_PX), fill=1)
    return np.asarray(image, dtype=np.bool_)


def _blurred(pixels: Pixels) -> Pixels:
    """The picture in blocks, each of one colour."""
    image = Image.fromarray(pixels)
    factor = max(2, min(image.size) // BLOCKS_PER_SIDE)
    blocks = image.reduce(factor)
    whole = (blocks.width * factor, blocks.height * factor)  # the last blocks may stick out
    mosaic = blocks.resize(whole, Image.Resampling.NEAREST)
    return np.asarray(mosaic, dtype=np.uint8)[: image.height, : image.width]
