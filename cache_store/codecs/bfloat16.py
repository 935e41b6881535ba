"""Conversion between float32 and bfloat16, which numpy lacks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Widen without loss, since bfloat16 is the upper half of float32."""
    wide = bits.astype(np.uint32)
    wide <<= np.uint32(16)
    return wide.view(np.float32)


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[Any]:
    """Round to the nearest, ties to even. `values` must be finite, and is overwritten."""
    bits = values.view(np.uint32)
    bits += np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    bits >>= np.uint32(16)
    return bits.astype(np.uint16)
