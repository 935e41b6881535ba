"""Keeps KV as it is, to the bit and without a copy in either direction."""

import math

import numpy as np

from onlooker.cache_store.codecs.base import Buffer
from onlooker.cache_store.record import DTYPES, KvArray


class RawCodec:
    """The payload is the bytes of the array, little-endian."""

    name = "raw"

    def encode(self, kv: KvArray, dtype: str) -> Buffer:
        assert kv.dtype == DTYPES[dtype]
        assert kv.flags.c_contiguous
        return kv.reshape(-1).view(np.uint8).data

    def decode(self, payload: memoryview, dtype: str, shape: tuple[int, ...]) -> KvArray:
        return np.frombuffer(payload, DTYPES[dtype]).reshape(shape)

    def payload_bounds(self, dtype: str, shape: tuple[int, ...]) -> tuple[int, int]:
        size = math.prod(shape) * DTYPES[dtype].itemsize
        return size, size
