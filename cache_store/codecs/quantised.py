"""KV in 8 or 4 bits a value: keys per channel, values per token.

Keys have a few channels that are large in every token, so each channel of a segment gets its own
range over the segment's tokens; values have no such channels but differ by token, so each token
gets its own range over the head's channels. A value x is stored as the nearest of 2^bits levels

    x' = low + level * step        |x - x'| <= step / 2

with `low` (rounded down) and `step` (rounded up, so that the highest level still reaches the
largest value) as float16. On top of that bound comes only the rounding of x' to the KV's own dtype.

    payload:  low and step of all keys, then of all values    float16
              levels of keys and values in the KV's order     1 byte each, or 4 bits each:
              the first half of all values in the low nibbles, the second half in the high ones
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onlooker.cache_store.codecs.base import Buffer
from onlooker.cache_store.codecs.bfloat16 import from_bfloat16, to_bfloat16
from onlooker.cache_store.errors import NotEncodable
from onlooker.cache_store.record import DTYPES, KvArray

Floats = NDArray[np.float32]

_HALF = np.dtype("<f2")
_MAX_VALUE = 60_000.0
"""The highest level can overshoot the largest value; this leaves more than that below the 65,504 of
float16."""


class QuantisedCodec:
    """Asymmetric uniform quantisation to `num_bits` (8 or 4)."""

    def __init__(self, *, num_bits: int) -> None:
        if num_bits not in (4, 8):
            raise ValueError(f"a quantised codec has 4 or 8 bits, not {num_bits}")
        self.name = f"int{num_bits}"
        self._num_bits = num_bits
        self._max_level = 2**num_bits - 1

    def encode(self, kv: KvArray, dtype: str) -> Buffer:
        exact = from_bfloat16(kv) if dtype == "bfloat16" else kv.astype(np.float32, copy=False)
        levels = np.empty(kv.shape, np.uint8)
        ranges: list[NDArray[Any]] = []
        for part, axis in ((0, 2), (1, 3)):  # keys range over tokens, values over channels
            low, step = self._ranges(exact[:, part], axis)
            scaled = exact[:, part] - low
            # A step of zero means that all values are `low`: any divisor gives level 0.
            scaled /= np.where(step > 0, step, 1)
            np.rint(scaled, out=scaled)
            np.clip(scaled, 0, self._max_level, out=scaled)
            levels[:, part] = scaled
            ranges += [low.astype(_HALF).reshape(-1), step.astype(_HALF).reshape(-1)]
        return b"".join([*(array.tobytes() for array in ranges), self._pack(levels)])

    def decode(self, payload: memoryview, dtype: str, shape: tuple[int, ...]) -> KvArray:
        halves = np.frombuffer(payload, _HALF, count=self._num_halves(shape))
        levels = self._unpack(payload[halves.nbytes :], shape)
        decoded = np.empty(shape, np.float32)
        start = 0
        for part, range_shape in enumerate(_range_shapes(shape)):
            size = math.prod(range_shape)
            low = halves[start : start + size].astype(np.float32).reshape(range_shape)
            step = halves[start + size : start + 2 * size].astype(np.float32).reshape(range_shape)
            np.multiply(levels[:, part], step, out=decoded[:, part])
            decoded[:, part] += low
            start += 2 * size
        return (
            to_bfloat16(decoded)
            if dtype == "bfloat16"
            else decoded.astype(DTYPES[dtype], copy=False)
        )

    def payload_bounds(self, dtype: str, shape: tuple[int, ...]) -> tuple[int, int]:
        packed = (math.prod(shape) * self._num_bits + 7) // 8
        size = packed + self._num_halves(shape) * _HALF.itemsize
        return size, size

    def _ranges(self, exact: Floats, axis: int) -> tuple[Floats, Floats]:
        """`low` and `step` over `axis` of [layers, kv_heads, tokens, head_dim]. Each value can be
        written as float16 without a change."""
        lowest = exact.min(axis=axis, keepdims=True)
        highest = exact.max(axis=axis, keepdims=True)
        # Also false for NaN, which passes through both min and max.
        if not (lowest.min() >= -_MAX_VALUE and highest.max() <= _MAX_VALUE):
            raise NotEncodable("some values are not finite or beyond the range of float16")
        low = _half_below(lowest)
        step = _half_above((highest - low) / self._max_level)
        return low, step

    def _num_halves(self, shape: tuple[int, ...]) -> int:
        return sum(2 * math.prod(range_shape) for range_shape in _range_shapes(shape))

    def _pack(self, levels: NDArray[np.uint8]) -> bytes:
        if self._num_bits == 8:
            return levels.tobytes()
        flat = levels.reshape(-1)
        half = (flat.size + 1) // 2
        packed = flat[:half].copy()
        packed[: flat.size - half] |= flat[half:] << np.uint8(4)
        return packed.tobytes()

    def _unpack(self, packed: memoryview, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        stored = np.frombuffer(packed, np.uint8)
        if self._num_bits == 8:
            return stored.reshape(shape)
        size = math.prod(shape)
        flat = np.empty(size, np.uint8)
        np.bitwise_and(stored, np.uint8(15), out=flat[: stored.size])
        np.right_shift(stored[: size - stored.size], np.uint8(4), out=flat[stored.size :])
        return flat.reshape(shape)


def _range_shapes(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of `low` and `step` for keys and for values."""
    layers, _, heads, tokens, channels = shape
    return (layers, heads, 1, channels), (layers, heads, tokens, 1)


def _half_below(values: Floats) -> Floats:
    """The largest float16 that is not above each value, as float32."""
    half = values.astype(_HALF)
    too_high = half.astype(np.float32) > values
    half[too_high] = np.nextafter(half[too_high], _HALF.type(-np.inf))
    return half.astype(np.float32)


def _half_above(values: Floats) -> Floats:
    """The smallest float16 that is not below each value, as float32."""
    half = values.astype(_HALF)
    too_low = half.astype(np.float32) < values
    half[too_low] = np.nextafter(half[too_low], _HALF.type(np.inf))
    return half.astype(np.float32)
