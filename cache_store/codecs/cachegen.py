"""KV as differences to anchor tokens, in steps that differ by layer, entropy coded: after CacheGen
(Liu et al., SIGCOMM 2024).

Tokens that follow each other have much alike keys and values, so of each group of `GROUP` tokens
the first, its *anchor*, is stored as it is and the others as what they differ from it. Where
differences are larger than what they are made of, which is decided for keys and values of each
layer, there are no anchors. What is stored is rounded to steps:

    step = level * spread       |x - x'| <= step * 2^shift / 2

`spread` is that of the median channel of a layer's head over its tokens, so that a few channels
that are large in every token coarsen no others; these have a `shift` of their own, for which all
their steps fit a byte. `level` is finer for early layers, on which all others build. Early, middle
and late layers are a third each. Levels only matter to whoever writes: steps stand in the payload.

Last comes a Huffman code, that of zlib without its search for repetitions. It takes 1 % more room
than the arithmetic code of the paper would, and is read eight times as fast.

    payload:  steps [layers, 2, kv_heads]              float16
              whether there are anchors [layers, 2]    1 byte each
              deflated, raw: shifts [layers, 2, kv_heads, head_dim]    1 byte each
                  of each layer, of its keys and then of its values:
                      anchors [kv_heads, groups, head_dim]    their low bytes, then their high ones
                      all other tokens [kv_heads, tokens, head_dim]    1 byte each
"""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onlooker.cache_store.codecs.base import Buffer
from onlooker.cache_store.codecs.bfloat16 import from_bfloat16, to_bfloat16
from onlooker.cache_store.errors import NotEncodable, RecordCorrupt
from onlooker.cache_store.record import DTYPES, KvArray

GROUP = 10
"""Tokens that share an anchor, as published."""

_HALF = np.dtype("<f2")
_MAX_VALUE = 60_000.0
"""So that neither a step nor a sum of steps is beyond float16."""
_MIN_STEP = 2.0**-14
"""The smallest normal float16."""
_MAX_STEPS = 127
"""Of what is no anchor, to either side."""
_MAX_ANCHOR_STEPS = 32_000
_MAX_SHIFT = 31
_LEAST_BLOCK = 16_000
"""Symbols of a block that zlib stores as they are, at least."""
_SYMBOLS_PER_BYTE = 8
"""The most that a byte of the Huffman code can stand for, since it has no repetitions."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Levels:
    """Steps as multiples of the spread, for early, middle and late layers."""

    keys: tuple[float, float, float]
    values: tuple[float, float, float]


CALIBRATED = Levels(keys=(0.6, 0.8, 1.0), values=(0.6, 0.8, 1.0))
"""Of 50 questions about a half hour of the demo model, 0.7 throughout answers as many as ``int4``
but for one, 1.0 one more, and 1.5 four fewer."""


class CacheGenCodec:
    """See the module."""

    name = "cachegen"

    def __init__(self, levels: Levels = CALIBRATED) -> None:
        self._levels = levels

    def encode(self, kv: KvArray, dtype: str) -> Buffer:
        exact = from_bfloat16(kv) if dtype == "bfloat16" else kv.astype(np.float32, copy=False)
        # Also false for NaN, which passes through both min and max.
        if not (exact.min() >= -_MAX_VALUE and exact.max() <= _MAX_VALUE):
            raise NotEncodable("some values are not finite or beyond the range of float16")
        num_layers = kv.shape[0]
        planes = [
            _Plane.of(exact[layer, part], levels[3 * layer // num_layers])
            for layer in range(num_layers)
            for part, levels in enumerate((self._levels.keys, self._levels.values))
        ]
        huffman = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
        symbols = [plane.shifts for plane in planes]
        for plane in planes:
            symbols += plane.symbols
        return b"".join(
            [
                *(plane.steps for plane in planes),
                bytes(plane.has_anchors for plane in planes),
                huffman.compress(b"".join(symbols)),
                huffman.flush(),
            ]
        )

    def decode(self, payload: memoryview, dtype: str, shape: tuple[int, ...]) -> KvArray:
        num_layers, _, num_heads, num_tokens, head_dim = shape
        num_planes, start = num_layers * 2, _fixed_bytes(shape)
        steps = np.frombuffer(payload, _HALF, count=num_planes * num_heads).astype(np.float32)
        anchored = bytes(payload[start - num_planes : start])
        # Also false for NaN.
        if max(anchored) > 1 or not (steps.min() >= _MIN_STEP and steps.max() <= _MAX_VALUE):
            raise RecordCorrupt("the steps of KV make no sense")
        symbols = _inflated(payload[start:], _num_symbols(shape, sum(anchored)))
        shifts = symbols[: num_planes * num_heads * head_dim]
        if shifts.max() > _MAX_SHIFT:
            raise RecordCorrupt("the steps of KV make no sense")
        scales = np.ldexp(
            steps.reshape(num_planes, num_heads, 1, 1),
            shifts.reshape(num_planes, num_heads, 1, head_dim).astype(np.int32),
        )
        decoded = np.empty((num_planes, num_heads, num_tokens, head_dim), np.float32)
        at = shifts.size
        for plane, scale, has_anchors in zip(decoded, scales, anchored, strict=True):
            at = _decode_plane(symbols, at, plane, scale, has_anchors=bool(has_anchors))
        np.clip(decoded, -_MAX_VALUE, _MAX_VALUE, out=decoded)
        decoded = decoded.reshape(shape)
        return (
            to_bfloat16(decoded)
            if dtype == "bfloat16"
            else decoded.astype(DTYPES[dtype], copy=False)
        )

    def payload_bounds(self, dtype: str, shape: tuple[int, ...]) -> tuple[int, int]:
        least, most = _num_symbols(shape, 0), _num_symbols(shape, shape[0] * 2)
        fixed = _fixed_bytes(shape)
        # What cannot be made smaller is stored in blocks, each with five bytes more.
        return fixed + least // _SYMBOLS_PER_BYTE, fixed + most + 5 * (most // _LEAST_BLOCK + 2)


@dataclass(frozen=True, slots=True)
class _Plane:
    """The keys or the values of a layer as they are written."""

    steps: bytes
    has_anchors: bool
    shifts: bytes
    symbols: tuple[bytes, ...]

    @classmethod
    def of(cls, exact: Floats, level: float) -> "_Plane":
        """Round keys or values, [kv_heads, tokens, head_dim], to steps of `level` times their
        spread."""
        spread, has_anchors = _spread(exact), False
        anchors, others = exact[:, :0], exact
        if exact.shape[1] > 1:
            is_other, group = _groups(exact.shape[1])
            differences = exact[:, is_other] - exact[:, ::GROUP][:, group]
            of_differences = _spread(differences)
            has_anchors = bool(of_differences.sum() < spread.sum())
            if has_anchors:
                spread, anchors, others = of_differences, exact[:, ::GROUP], differences
        steps = np.clip(level * spread, _MIN_STEP, _MAX_VALUE).astype(_HALF)
        exact_steps = steps.astype(np.float32)[:, None, None]
        # A difference to an anchor that is rounded is larger by half a step at most.
        too_large = np.maximum(
            np.abs(others).max(1, initial=0, keepdims=True) / (_MAX_STEPS - 0.5),
            np.abs(anchors).max(1, initial=0, keepdims=True) / _MAX_ANCHOR_STEPS,
        )
        shifts = np.ceil(np.log2(np.maximum(too_large / exact_steps, 1))).astype(np.int32)
        scale = np.ldexp(exact_steps, shifts)
        symbols: tuple[bytes, ...] = ()
        if has_anchors:
            rounded = np.rint(anchors / scale)
            others = exact[:, is_other] - (rounded * scale)[:, group]
            halves = rounded.astype("<i2")[..., None].view(np.uint8)
            symbols = (halves[..., 0].tobytes(), halves[..., 1].tobytes())
        rounded = np.clip(np.rint(others / scale), -_MAX_STEPS, _MAX_STEPS)
        symbols += (rounded.astype(np.int8).tobytes(),)
        return cls(steps.tobytes(), has_anchors, shifts.astype(np.uint8).tobytes(), symbols)


def _decode_plane(
    symbols: NDArray[np.uint8], at: int, plane: Floats, scale: Floats, *, has_anchors: bool
) -> int:
    """Fill `plane`, [kv_heads, tokens, head_dim], with what stands at `at`; returns where that
    ends. `scale`: a step of each channel, [kv_heads, 1, head_dim]."""
    num_heads, num_tokens, head_dim = plane.shape
    if not has_anchors:
        end = at + int(plane.size)
        np.multiply(symbols[at:end].view(np.int8).reshape(plane.shape), scale, out=plane)
        return end
    is_other, group = _groups(num_tokens)
    num_groups = num_tokens - len(group)
    size: int = num_heads * num_groups * head_dim
    halves = symbols[at : at + 2 * size].reshape(2, -1).T
    anchors = np.ascontiguousarray(halves).view("<i2").reshape(num_heads, num_groups, head_dim)
    at, end = at + 2 * size, at + size + int(plane.size)
    others = symbols[at:end].view(np.int8).reshape(num_heads, -1, head_dim)
    plane[:, ::GROUP] = anchors * scale
    plane[:, is_other] = others * scale + plane[:, ::GROUP][:, group]
    return end


def _inflated(packed: memoryview, size: int) -> NDArray[np.uint8]:
    """Read the Huffman code of `size` symbols."""
    reading = zlib.decompressobj(-15)
    try:
        found = reading.decompress(packed, size)
        # The end of the code may stand behind the last symbol.
        rest = b"" if reading.eof else reading.decompress(reading.unconsumed_tail, 1)
    except zlib.error as error:
        raise RecordCorrupt("the entropy code of KV is damaged") from error
    if len(found) != size or rest or not reading.eof or reading.unused_data:
        raise RecordCorrupt("the entropy code of KV has another length than its shape says")
    return np.frombuffer(found, np.uint8)


def _groups(num_tokens: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which tokens are no anchors, and the group of each of these."""
    tokens = np.arange(num_tokens)
    is_other = tokens % GROUP > 0
    return is_other, tokens[is_other] // GROUP


def _spread(values: Floats) -> Floats:
    """That of the median channel of each head, [kv_heads]."""
    found: Floats = np.median(np.sqrt(np.square(values).mean(1)), axis=-1)
    return found


def _fixed_bytes(shape: tuple[int, ...]) -> int:
    """What stands before the Huffman code."""
    num_layers, _, num_heads, _, _ = shape
    return num_layers * 2 * (num_heads * _HALF.itemsize + 1)


def _num_symbols(shape: tuple[int, ...], num_anchored: int) -> int:
    """How many bytes are Huffman coded where so many planes have anchors."""
    num_layers, _, num_heads, num_tokens, head_dim = shape
    num_groups = -(-num_tokens // GROUP)
    channels = num_heads * head_dim
    return channels * (num_layers * 2 * (1 + num_tokens) + num_anchored * num_groups)
