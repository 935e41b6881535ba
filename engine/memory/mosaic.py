"""`Mosaic`: what was last shown at each place of a stream's picture, and by which clip.

A place is the part of a picture that becomes one token. Pictures are compared as the gate compares
them: block by block, the largest difference counts, and a change that the whole picture shares
(flicker, automatic exposure) is taken out. What is compared with is not the clip before but what
was last *shown* at the place, so that slow changes add up until they are seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onlooker.core.media import Pixels

BLOCK_PIXELS = 4
"""The longest side of a block, in pixels, where it divides a place."""

FLICKER_FACTOR = 2.0
"""A change that the whole picture shares may be this many times the threshold."""

_WEIGHTS = np.array([1.0, 0.7, 0.7], np.float32) / 255
"""Of brightness and two colour differences: codecs save on colour, so its noise is larger."""

NOBODY = -1
"""The origin of a place that was never shown."""

Mask = NDArray[np.bool_]
"""One truth value for each place of a picture, row by row."""


@dataclass(frozen=True, slots=True)
class Glance:
    """How a clip looks beside what was last shown at each place."""

    clip_index: int
    blocks: NDArray[np.uint8]
    """Block means of both frames, [2, 3, rows, columns]."""
    levels: NDArray[np.float32]
    """By how much the whole picture has changed since the first, [3]."""
    changes: NDArray[np.float32]
    """The largest difference at each place from what was last shown there, 0-1; 1 where nothing
    was."""
    steps: NDArray[np.float32]
    """Mean absolute difference at each place between the clip's last frame and the first frame of
    the clip before, 0-1; 1 for the first clip."""
    origins: NDArray[np.int64]
    """The clip that was last shown at each place; `NOBODY` where none was."""
    side: int
    """Length of one side of a place, in blocks."""

    @property
    def num_columns(self) -> int:
        """Places side by side in a row."""
        return int(self.blocks.shape[-1]) // self.side

    @property
    def features(self) -> NDArray[np.float32]:
        """The block means of each place in both frames, [places, numbers]."""
        side = self.side
        frames, colours, rows, columns = self.blocks.shape
        tiled = self.blocks.reshape(frames, colours, rows // side, side, columns // side, side)
        by_place = tiled.transpose(2, 4, 0, 1, 3, 5)
        return by_place.reshape(-1, frames * colours * side**2).astype(np.float32)


class Mosaic:
    """The mosaic of one stream.

    Args:
        tile: length of one side of a place, in pixels.
    """

    def __init__(self, tile: int) -> None:
        self._tile = tile
        self._block = max(size for size in range(1, BLOCK_PIXELS + 1) if tile % size == 0)
        self._shown: NDArray[np.uint8] | None = None
        self._before: NDArray[np.uint8] | None = None
        self._levels = np.zeros(3, np.float32)
        self._shown_levels: NDArray[np.float32] = np.zeros((3, 0), np.float32)
        self._origins: NDArray[np.int64] = np.empty(0, np.int64)
        self.newest = NOBODY
        """The clip that was noted last; `NOBODY` at first."""

    def look(self, frames: Sequence[Pixels], clip_index: int) -> Glance:
        """How the two `frames` of a clip look beside what was shown; notes nothing."""
        blocks = np.stack([self._means(frame) for frame in frames])
        num_places = self._num_places(blocks)
        if self._shown is None or self._before is None or self._shown.shape != blocks.shape:
            unseen = np.ones(num_places, np.float32)
            nobody = np.full(num_places, NOBODY, np.int64)
            levels = np.zeros(3, np.float32)
            return Glance(clip_index, blocks, levels, unseen, unseen, nobody, self._side)
        levels = self._levels + _shared(blocks, self._before)
        drift = levels[:, None] - self._shown_levels
        added = np.subtract(blocks, self._shown, dtype=np.int16)
        most, least = self._ends(added)
        local = np.maximum(most - drift, drift - least)
        changes = np.maximum(local, np.abs(drift) / FLICKER_FACTOR) * _WEIGHTS[:, None]
        step = np.abs(np.subtract(blocks[-1], self._before[0], dtype=np.int16))
        steps = self._by_place(step).mean(axis=(0, 2, 4)).ravel() / np.float32(255)
        return Glance(
            clip_index,
            blocks,
            levels,
            np.where(self._origins == NOBODY, np.float32(1), changes.max(axis=0)),
            steps.astype(np.float32),
            self._origins.copy(),
            self._side,
        )

    def note(self, glance: Glance, shown: Mask) -> None:
        """Note that a clip was shown at the places of `shown`."""
        if self._shown is None or self._shown.shape != glance.blocks.shape:
            self._shown = glance.blocks.copy()
            self._shown_levels = np.zeros((3, len(shown)), np.float32)
            self._origins = np.full(len(shown), NOBODY, np.int64)
        rows, columns = (size * self._block // self._tile for size in glance.blocks.shape[2:])
        fresh = shown.reshape(rows, columns).repeat(self._side, 0).repeat(self._side, 1)
        np.copyto(self._shown, glance.blocks, where=fresh)
        self._shown_levels[:, shown] = glance.levels[:, None]
        self._origins[shown] = self.newest = glance.clip_index
        self._before, self._levels = glance.blocks, glance.levels

    @property
    def _side(self) -> int:
        return self._tile // self._block

    def _means(self, frame: Pixels) -> NDArray[np.uint8]:
        """Block means of brightness and two colour differences, [3, rows, columns]."""
        height, width = (size - size % self._tile for size in frame.shape[:2])
        picture = Image.fromarray(frame[:height, :width])
        if self._block > 1:
            picture = picture.reduce(self._block)
        return np.asarray(picture.convert("YCbCr")).transpose(2, 0, 1)

    def _num_places(self, blocks: NDArray[np.uint8]) -> int:
        num_blocks: int = blocks.shape[2] * blocks.shape[3]
        return num_blocks * self._block**2 // self._tile**2

    def _by_place(self, blocks: NDArray[np.int16]) -> NDArray[np.int16]:
        """Blocks of a picture, [..., rows, columns], as [..., rows of places, blocks, columns of
        places, blocks]."""
        size = self._side
        rows, columns = (length // size for length in blocks.shape[-2:])
        return blocks.reshape(*blocks.shape[:-2], rows, size, columns, size)

    def _ends(self, added: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """The largest and the smallest change of a block at each place, [3, places] each."""
        by_place = self._by_place(added)
        most, least = by_place.max(axis=(0, 3, 5)), by_place.min(axis=(0, 3, 5))
        return most.reshape(3, -1), least.reshape(3, -1)


def _shared(blocks: NDArray[np.uint8], before: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The change of the whole picture since the clip before, [3]: the median over some blocks."""
    some = (slice(None), slice(None), slice(None, None, 2), slice(None, None, 2))
    added = np.subtract(blocks[some], before[some], dtype=np.int16)
    shared: NDArray[np.float32] = np.median(
        added.transpose(1, 0, 2, 3).reshape(3, -1), axis=1
    ).astype(np.float32)
    return shared
