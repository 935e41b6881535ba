"""Any record: what comes back is what was put, or nothing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from onlooker.cache_store.codecs.bfloat16 import from_bfloat16
from onlooker.cache_store.codecs.cachegen import CacheGenCodec, Levels
from onlooker.cache_store.codecs.quantised import QuantisedCodec
from onlooker.cache_store.codecs.table import CODECS
from onlooker.cache_store.envelope import decode, encode, seal, unseal, unseal_head
from onlooker.cache_store.errors import RecordCorrupt, RecordForeign
from onlooker.cache_store.key import SegmentKey, SegmentKind, parse_key
from onlooker.cache_store.record import DTYPES, SegmentRecord
from tests.unit.cache_store.factories import assert_same, make_encoded, make_key, make_record

SETTINGS = settings(max_examples=40)

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
KEYS = st.builds(
    SegmentKey,
    IDS,
    IDS,
    IDS,
    st.integers(0, 9_999_999_999),
    st.sampled_from(SegmentKind),
    st.integers(0, 2**53 - 1),
)
SHAPES = st.tuples(
    st.integers(1, 3), st.just(2), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)
)
TIMES = st.floats(0, 1e9, allow_nan=False)
META = st.dictionaries(
    st.text(max_size=8),
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20)
    | st.floats(allow_nan=False, allow_infinity=False),
    max_size=4,
)  # fmt: skip


@st.composite
def records(draw: st.DrawFn, *, finite: bool = False) -> SegmentRecord:
    """Any record, also of NaNs and infinities of every bit pattern unless `finite`."""
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    shape = draw(SHAPES)
    if finite:
        values = draw(hnp.arrays(np.float32, shape, elements=st.floats(-60_000, 60_000, width=32)))
        top = values.view(np.uint32) >> 16
        kv: NDArray[Any] = (
            top.astype(np.uint16) if dtype == "bfloat16" else values.astype(DTYPES[dtype])
        )
    else:
        size = int(np.prod(shape)) * DTYPES[dtype].itemsize
        kv = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), DTYPES[dtype])
        kv = kv.reshape(shape)
    times = sorted((draw(TIMES), draw(TIMES)))
    row_shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
    row_dtype = draw(st.sampled_from([np.float32, np.float16]))
    return SegmentRecord(
        key=draw(KEYS),
        base=draw(st.integers(0, 2**40)),
        num_tokens=shape[3],
        start_s=times[0],
        end_s=times[1],
        dtype=dtype,
        kv=kv,
        index_row=draw(hnp.arrays(row_dtype, row_shape)),
        meta=draw(META),
    )


def exact(kv: NDArray[Any], dtype: str) -> NDArray[np.float64]:
    return (from_bfloat16(kv) if dtype == "bfloat16" else kv).astype(np.float64)


@SETTINGS
@given(key=KEYS)
def test_any_key_reads_back_from_its_text(key: SegmentKey) -> None:
    assert parse_key(key.text) == key
    assert "\n" not in key.text
    assert ".." not in key.text.split("/")


@SETTINGS
@given(record=records())
def test_any_raw_record_comes_back_to_the_bit(record: SegmentRecord) -> None:
    data = b"".join(seal(encode(record)))
    assert_same(decode(unseal(data, record.key)), record)


@SETTINGS
@given(record=records(), codec=st.sampled_from(["int8", "int4", "cachegen"]))
def test_any_record_survives_any_codec_in_form(record: SegmentRecord, codec: str) -> None:
    found = decode(unseal(b"".join(seal(encode(record, CODECS[codec]))), record.key))
    assert (found.kv.shape, found.kv.dtype) == (record.kv.shape, record.kv.dtype)


@SETTINGS
@given(record=records(finite=True), num_bits=st.sampled_from([8, 4]))
def test_the_error_of_a_quantised_value_is_at_most_half_a_step(
    record: SegmentRecord, num_bits: int
) -> None:
    values = exact(record.kv, record.dtype)
    found = exact(decode(encode(record, QuantisedCodec(num_bits=num_bits))).kv, record.dtype)
    # One unit of the last place of the KV's dtype, at the value, for the rounding of the result.
    digits = {"float32": 23, "float16": 10, "bfloat16": 7}[record.dtype]
    for part, axis in ((0, 2), (1, 3)):
        spread = np.ptp(values[:, part], axis=axis, keepdims=True)
        largest = np.abs(values[:, part]).max(axis=axis, keepdims=True)
        # `low` and `step` as float16: rounded outwards by at most one unit each.
        low_slack = largest * 2.0**-10 + 2.0**-24
        step = (spread + low_slack) / (2**num_bits - 1) * (1 + 2.0**-10) + 2.0**-24
        bound = step / 2 + (largest + step) * 2.0**-digits + 2.0**-23
        assert (np.abs(found[:, part] - values[:, part]) <= bound).all()


@SETTINGS
@given(record=records(finite=True), level=st.sampled_from([0.1, 1.0]))
def test_the_error_of_an_entropy_coded_value_is_at_most_half_a_step(
    record: SegmentRecord, level: float
) -> None:
    values = exact(record.kv, record.dtype)
    codec = CacheGenCodec(Levels((level,) * 3, (level,) * 3))
    found = exact(decode(encode(record, codec)).kv, record.dtype)
    digits = {"float32": 20, "float16": 10, "bfloat16": 7}[record.dtype]
    largest = np.abs(values).max(axis=3, keepdims=True)  # of each channel
    # A spread is at most twice the largest value; a channel whose steps must fit a byte may need
    # wider ones, for differences that are at most twice as large as its values.
    spread = 2 * np.abs(values).max(axis=(3, 4), keepdims=True)
    step = np.maximum(level * spread * (1 + 2.0**-10), 2 * 2 * largest / 126) + 2.0**-14
    # A value is the sum of two that are rounded, and is not beyond what float16 can hold.
    bound = step / 2 + (2 * largest + step) * 2.0**-digits + 2.0**-20
    assert (np.abs(found - values) <= bound).all()


@SETTINGS
@given(data=st.data(), shape=SHAPES, dtype=st.sampled_from(sorted(DTYPES)))
def test_any_entropy_coded_bytes_are_refused_or_are_finite_kv(
    data: st.DataObject, shape: tuple[int, ...], dtype: str
) -> None:
    codec = CacheGenCodec()
    least, most = codec.payload_bounds(dtype, shape)
    kv = np.zeros(shape, DTYPES[dtype])
    whole = bytes(codec.encode(kv, dtype))
    assert least <= len(whole) <= most
    at = data.draw(st.integers(0, len(whole)))
    junk = data.draw(st.binary(min_size=max(0, least - at), max_size=max(least - at, 60)))
    payload = whole[:at] + junk
    try:
        found = codec.decode(memoryview(payload), dtype, shape)
    except RecordCorrupt:
        assert payload != whole
    else:
        assert (found.shape, found.dtype) == (shape, DTYPES[dtype])
        assert np.isfinite(exact(found, dtype)).all()


@SETTINGS
@given(record=records(finite=True), num_bits=st.sampled_from([8, 4]))
def test_quantising_keeps_the_smallest_and_largest_of_each_range_apart(
    record: SegmentRecord, num_bits: int
) -> None:
    values = exact(record.kv, record.dtype)
    found = exact(decode(encode(record, QuantisedCodec(num_bits=num_bits))).kv, record.dtype)
    for part, axis in ((0, 2), (1, 3)):
        order = np.argmax(values[:, part], axis=axis), np.argmin(values[:, part], axis=axis)
        highest, lowest = (
            np.take_along_axis(found[:, part], np.expand_dims(place, axis), axis) for place in order
        )
        assert (highest >= lowest).all()


@SETTINGS
@given(key=KEYS, data=st.binary(max_size=2000))
def test_any_bytes_are_refused_or_are_a_record(key: SegmentKey, data: bytes) -> None:
    with pytest.raises((RecordCorrupt, RecordForeign)):
        unseal(data, key)
    with pytest.raises((RecordCorrupt, RecordForeign)):
        unseal(b"OLKV\x01\x00\x00\x00" + data, key)


@pytest.mark.parametrize("codec", ["raw", "int4", "cachegen"])
def test_every_single_flipped_bit_is_noticed(codec: str) -> None:
    data = bytearray(b"".join(seal(make_encoded(1, shape=(1, 2, 1, 2, 4), codec=CODECS[codec]))))
    key = make_key(1)
    unseal(bytes(data), key)
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises((RecordCorrupt, RecordForeign)):
            unseal(bytes(data), key)
        data[bit // 8] ^= 1 << bit % 8
    unseal(bytes(data), key)


def test_every_flipped_bit_of_a_head_is_noticed_without_the_kv() -> None:
    whole = b"".join(seal(make_encoded(1)))
    head = bytearray(seal(make_encoded(1))[0])
    for bit in range(8 * len(head)):
        head[bit // 8] ^= 1 << bit % 8
        with pytest.raises((RecordCorrupt, RecordForeign)):
            unseal_head(bytes(head), make_key(1), total_bytes=len(whole))
        head[bit // 8] ^= 1 << bit % 8


@SETTINGS
@given(st.data())
def test_any_truncation_and_any_splice_is_noticed(data: st.DataObject) -> None:
    one, two = (b"".join(seal(make_encoded(1, seed=seed))) for seed in (1, 2))
    at = data.draw(st.integers(0, len(one) - 1))
    with pytest.raises((RecordCorrupt, RecordForeign)):
        unseal(one[:at], make_key(1))
    spliced = one[:at] + two[at:]
    if spliced in (one, two):
        found = decode(unseal(spliced, make_key(1)))
        assert_same(found, make_record(1, seed=1 if spliced == one else 2))
    else:
        with pytest.raises((RecordCorrupt, RecordForeign)):
            unseal(spliced, make_key(1))
