"""`RowPlaces`: where the rows of one shape lie in the memory of an index, and how they are made.

A row is a segment's index entries, layer by layer; each layer begins at a whole unit.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from onlooker.engine.memory.index_split import coarse_row_bytes, in_units

NOWHERE = -1
"""Where something does not lie."""

_FIRST_ROWS = 8


class RowPlaces:
    """See the module.

    Args:
        like: entries of the shape, [layers, entries, kv_heads, width].
        head_dim: of the keys that the entries were made of.
    """

    def __init__(self, like: torch.Tensor, head_dim: int) -> None:
        self.num_layers, self.num_entries, self.kv_heads, self.width = like.shape
        self.dtype = like.dtype
        self.count = math.prod(like.shape[1:])
        """Numbers of a row in one layer."""
        self.layer_bytes = in_units(self.count * like.element_size())
        self.row_bytes = self.num_layers * self.layer_bytes
        self.coarse_bytes = coarse_row_bytes(self.num_layers, self.kv_heads, head_dim)
        self.whole, self.coarse, self.below = self._places(0), self._places(0), self._places(0)
        """The units at which rows begin on the device, whole and coarse, and whole below; NOWHERE
        where they do not lie."""
        self._free: list[int] = []

    def add(self) -> int:
        """The number of a new row, which lies nowhere yet."""
        if not self._free:
            size = len(self.whole)
            more = max(_FIRST_ROWS, size // 2)
            self.whole, self.coarse, self.below = (
                np.concatenate([one, self._places(more)])
                for one in (self.whole, self.coarse, self.below)
            )
            self._free = list(range(size + more - 1, size - 1, -1))
        return self._free.pop()

    def discard(self, row: int) -> None:
        """Forget a row."""
        for places in (self.whole, self.coarse, self.below):
            places[row] = NOWHERE
        self._free.append(row)

    @property
    def num_bytes(self) -> int:
        """Bytes of all rows, wherever they lie."""
        num_below = int((self.below != NOWHERE).sum())
        num_rows = int((self.whole != NOWHERE).sum()) + num_below
        return num_rows * self.row_bytes + num_below * self.coarse_bytes

    def packed(self, entries: torch.Tensor, device: torch.device) -> torch.Tensor:
        """The row of `entries`: uint8 [row_bytes] on the device."""
        there = entries.to(device=device, dtype=self.dtype).contiguous()
        return self._padded(there.view(self.num_layers, -1).view(torch.uint8), self.layer_bytes)

    def packed_coarse(self, row: torch.Tensor) -> torch.Tensor:
        """The row of a coarse one, uint8 [layers, bytes]: uint8 [coarse_bytes]."""
        return self._padded(row, self.coarse_bytes // self.num_layers)

    def entries(self, row: torch.Tensor) -> torch.Tensor:
        """The entries of a row: the reverse of `packed`."""
        used = self.count * self.dtype.itemsize
        numbers = row.view(self.num_layers, -1)[:, :used].contiguous().view(self.dtype)
        return numbers.view(self.num_layers, self.num_entries, self.kv_heads, self.width)

    @staticmethod
    def _padded(rows: torch.Tensor, width: int) -> torch.Tensor:
        if (missing := width - rows.shape[1]) > 0:
            rows = torch.nn.functional.pad(rows, (0, missing))
        return rows.flatten()

    @staticmethod
    def _places(count: int) -> NDArray[np.int64]:
        return np.full(count, NOWHERE, np.int64)
