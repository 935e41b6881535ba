"""A segment as the engine hands it over: KV, position, time span and index row."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onlooker.cache_store.key import SegmentKey

KvArray = NDArray[Any]
"""KV of shape [layers, 2 (K, V), kv_heads, tokens, head_dim]."""

MetaValue = str | int | float | bool | None
Meta = Mapping[str, MetaValue]

DTYPES: Mapping[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),  # the bits, as numpy has no bfloat16
}
INDEX_DTYPES: Mapping[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}

MAX_META_BYTES = 32 * 1024
MAX_INDEX_DIMS = 8


@dataclass(frozen=True, slots=True, eq=False)
class SegmentRecord:
    """One segment's KV and what is needed to place it and find it again.

    `kv` of a record that came from the store is read-only: it is the canonical copy, which is
    rotated while it is copied to where it is needed and never in place.
    """

    key: SegmentKey
    base: int
    """Rotary position of the first token when the keys were computed."""
    num_tokens: int
    start_s: float
    """Stream time at which the segment begins."""
    end_s: float
    """Stream time at which the segment ends."""
    dtype: str
    """``float32``, ``float16`` or ``bfloat16`` (carried as uint16 bits)."""
    kv: KvArray
    index_row: NDArray[Any]
    """What retrieval compares questions with (mean keys, representatives ...): float32 or float16,
    of any shape, possibly empty."""
    meta: Meta = field(default_factory=dict)
    """A few plain values, which take at most `MAX_META_BYTES` as JSON."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {self.dtype!r}")
        if self.kv.dtype != DTYPES[self.dtype]:
            raise ValueError(f"kv of dtype {self.dtype} cannot be an array of {self.kv.dtype}")
        check_shape(self.kv.shape, self.num_tokens)
        if self.index_row.dtype not in INDEX_DTYPES.values():
            raise ValueError(f"index_row must be float32 or float16, not {self.index_row.dtype}")
        if self.index_row.ndim > MAX_INDEX_DIMS:
            raise ValueError(f"index_row has {self.index_row.ndim} dimensions, over the limit")
        check_place(self.base, self.start_s, self.end_s)
        meta_bytes(self.meta)

    def frozen(self) -> "SegmentRecord":
        """This record with arrays that nobody can change: read-only ones are kept, others copied.

        So a caller that sets ``kv.flags.writeable = False`` hands its array over without a copy.
        """
        kv, row = _frozen(self.kv), _frozen(self.index_row)
        return (
            self
            if kv is self.kv and row is self.index_row
            else replace(self, kv=kv, index_row=row, meta=dict(self.meta))
        )


def check_shape(shape: tuple[int, ...], num_tokens: int) -> None:
    """Raise ValueError unless `shape` is that of KV of `num_tokens` tokens."""
    if len(shape) != 5 or shape[1] != 2 or min(shape) < 1 or shape[3] != num_tokens:
        raise ValueError(
            f"kv must have shape [layers, 2, kv_heads, {num_tokens} tokens, head_dim], not {shape}"
        )


def check_place(base: int, start_s: float, end_s: float) -> None:
    """Raise ValueError unless position and time span make sense."""
    if base < 0:
        raise ValueError(f"base must be a position from 0, not {base}")
    if not (math.isfinite(start_s) and math.isfinite(end_s) and start_s <= end_s):
        raise ValueError(f"a segment cannot span {start_s} s to {end_s} s")


_PLAIN = (str, int, float, bool, NoneType)


def check_meta(meta: Meta) -> None:
    """Raise ValueError unless `meta` maps text to plain values."""
    for name, value in meta.items():
        if not isinstance(name, str) or not isinstance(value, _PLAIN):
            raise ValueError(f"meta holds plain values under text names, not {name!r}: {value!r}")


def meta_bytes(meta: Meta) -> bytes:
    """Canonical JSON of `meta`; ValueError when it is not small and plain."""
    if not meta:
        return b"{}"
    check_meta(meta)
    text = json.dumps(dict(meta), sort_keys=True, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_META_BYTES:
        raise ValueError(f"meta of {len(text)} bytes is over the limit of {MAX_META_BYTES}")
    return text.encode("ascii")


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    if not array.flags.writeable and array.flags.c_contiguous:
        return array
    copied = np.array(array, order="C", copy=True)
    copied.flags.writeable = False
    return copied
