"""`IndexSplit`: how an index lies on a GPU that is larger than its memory there.

The newest rows lie on the GPU whole. Of older ones a coarse row lies there, some times smaller, and
the whole one in memory of the host that the GPU reaches: a question ranks all by what lies on the
GPU, and then the best of the older ones once more by their whole rows.
"""

from dataclasses import dataclass

UNIT_BYTES = 64
"""Rows begin at multiples of this, and so do the parts of a row that belong to one layer."""

COARSE_SHARE = 0.5
"""The most of the GPU's memory for an index that is left to coarse rows."""

_SCALE_BYTES = 4


def in_units(num_bytes: int) -> int:
    """Rounded up to whole units, in bytes."""
    return -(-num_bytes // UNIT_BYTES) * UNIT_BYTES


def coarse_row_bytes(num_layers: int, kv_heads: int, head_dim: int) -> int:
    """Bytes of a segment's coarse row: half a byte for each component of its mean key, and a number
    for each head."""
    return num_layers * in_units(kv_heads * (head_dim // 2 + _SCALE_BYTES))


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSplit:
    """How many rows lie where. All bytes are of one worker, or of all together."""

    row_bytes: int
    """Of one whole row."""
    coarse_bytes: int
    device_bytes: int
    host_bytes: int
    """Memory of the host for whole rows."""

    @property
    def max_below(self) -> int:
        """Rows that lie whole on the host and coarse on the GPU; none where that spares little."""
        if self.coarse_bytes * 2 > self.row_bytes or not self.coarse_bytes:
            return 0
        coarse = int(self.device_bytes * COARSE_SHARE) // self.coarse_bytes
        return min(coarse, self.host_bytes // self.row_bytes)

    @property
    def max_whole(self) -> int:
        """Rows that lie whole on the GPU."""
        left = self.device_bytes - self.max_below * self.coarse_bytes
        return left // max(1, self.row_bytes)

    @property
    def max_rows(self) -> int:
        return self.max_whole + self.max_below
