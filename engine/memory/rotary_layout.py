"""`RotaryLayout`: which rotary positions the tokens of a clip take, from the clip's first on.

Text advances all three axes (t, h, w) by one. A block of pictures starts at one position on all
axes; its tokens then differ by patch row and column and, where a model tells time by position, by
patch in time. What follows goes on past the largest of all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RotaryLayout:
    """How M-RoPE places the tokens of a clip, and the sizes that this depends on, for one model."""

    video_token: int
    """The id of the token that stands for a piece of picture."""
    patch: int
    """Length of one side of a patch, in pixels."""
    merge: int
    """Length, in patches, of one side of the square that becomes one token."""
    tokens_per_second: float | None
    """Positions on the time axis that a second takes; None: each patch in time is a block of its
    own, behind the text with its time."""

    def offsets(
        self, token_ids: Sequence[int], grid: Sequence[int], second_per_grid: float = 1.0
    ) -> tuple[NDArray[np.int32], int]:
        """Rotary offsets of the tokens of one clip, [3, tokens] (t, h, w), and the clip's extent:
        the number of positions that it takes.

        `grid`: the clip's patches in time, height and width. `second_per_grid`: seconds between two
        patches in time.
        """
        num_times, height, width = grid[0], grid[1] // self.merge, grid[2] // self.merge
        if self.tokens_per_second is None:
            block = np.indices((1, height, width))
        else:
            block = np.indices((num_times, height, width))
            block[0] = (block[0] * (second_per_grid * self.tokens_per_second)).astype(np.int64)
        block = block.reshape(3, -1)
        parts: list[NDArray[np.int64]] = []
        position, index = 0, 0
        while index < len(token_ids):
            part = block if token_ids[index] == self.video_token else np.zeros((3, 1), np.int64)
            parts.append(part + position)
            position = int(parts[-1].max()) + 1
            index += part.shape[1]
        return np.concatenate(parts, axis=1).astype(np.int32), position
