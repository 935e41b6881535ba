"""What is known of a stored segment without reading its KV, and its JSON form.

Rebuilding a stream's index after a restart reads heads only.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onlooker.cache_store.errors import RecordCorrupt, RecordForeign
from onlooker.cache_store.key import SegmentKey, parse_key
from onlooker.cache_store.record import (
    DTYPES,
    INDEX_DTYPES,
    MAX_INDEX_DIMS,
    Meta,
    check_meta,
    check_place,
    check_shape,
)

MAX_DIM = 2**31


@dataclass(frozen=True, slots=True, eq=False)
class SegmentHead:
    """Everything of a record but its KV."""

    key: SegmentKey
    base: int
    num_tokens: int
    start_s: float
    end_s: float
    dtype: str
    shape: tuple[int, ...]
    """Shape of the decoded KV: [layers, 2, kv_heads, tokens, head_dim]."""
    codec: str
    index_row: NDArray[Any]
    meta: Meta

    @property
    def kv_bytes(self) -> int:
        """Size of the decoded KV in bytes."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


def head_to_json(head: SegmentHead) -> bytes:
    """Canonical JSON of all fields but the index row's values."""
    fields = {
        "base": head.base,
        "codec": head.codec,
        "dtype": head.dtype,
        "end_s": head.end_s,
        "index_dtype": _index_dtype_name(head.index_row),
        "index_shape": list(head.index_row.shape),
        "key": head.key.text,
        "meta": dict(head.meta),
        "num_tokens": head.num_tokens,
        "shape": list(head.shape),
        "start_s": head.start_s,
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def head_from_json(text: bytes, index_bytes: memoryview, key: SegmentKey) -> SegmentHead:
    """Read what `head_to_json` wrote. The index row is copied, so that it keeps no buffer alive.

    Raises:
        RecordCorrupt: this is not such JSON, or its parts contradict each other.
        RecordForeign: the record is of another key, or of a dtype that this version does not know.
    """
    try:
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise RecordCorrupt("a record's header is not an object")
        if fields["key"] != key.text:
            parse_key(fields["key"])
            raise RecordForeign("a record of another segment stands under this name")
        return _build(fields, index_bytes, key)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordCorrupt(f"a record's header does not make sense: {error}") from error


def _build(fields: Mapping[str, Any], index_bytes: memoryview, key: SegmentKey) -> SegmentHead:
    dtype, index_dtype = fields["dtype"], fields["index_dtype"]
    if dtype not in DTYPES or index_dtype not in INDEX_DTYPES:
        raise RecordForeign(f"a record has an unknown dtype, {dtype!r} or {index_dtype!r}")
    shape = _dims(fields["shape"])
    index_shape = _dims(fields["index_shape"])
    if len(index_shape) > MAX_INDEX_DIMS:
        raise RecordCorrupt(
            f"an index row has {len(index_shape)} dimensions, over {MAX_INDEX_DIMS}"
        )
    expected = math.prod(index_shape) * INDEX_DTYPES[index_dtype].itemsize
    if expected != len(index_bytes):
        raise RecordCorrupt(f"an index row has {len(index_bytes)} bytes, not {expected}")
    row = np.frombuffer(bytes(index_bytes), INDEX_DTYPES[index_dtype]).reshape(index_shape)
    check_shape(shape, fields["num_tokens"])
    check_place(fields["base"], fields["start_s"], fields["end_s"])
    meta = fields["meta"]
    check_meta(meta)
    return SegmentHead(
        key=key,
        base=fields["base"],
        num_tokens=fields["num_tokens"],
        start_s=fields["start_s"],
        end_s=fields["end_s"],
        dtype=dtype,
        shape=shape,
        codec=str(fields["codec"]),
        index_row=row,
        meta=meta,
    )


def _dims(values: list[Any]) -> tuple[int, ...]:
    for value in values:
        if not isinstance(value, int) or not 0 <= value < MAX_DIM:
            raise RecordCorrupt(f"a shape has the dimension {value!r}")
    return tuple(values)


def _index_dtype_name(row: NDArray[Any]) -> str:
    return next(name for name, dtype in INDEX_DTYPES.items() if dtype == row.dtype)
