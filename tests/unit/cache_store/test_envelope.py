import struct

import numpy as np
import pytest
import xxhash

from onlooker.cache_store.codecs.table import CODECS
from onlooker.cache_store.envelope import (
    ALIGN,
    PREFIX_BYTES,
    VERSION,
    decode,
    encode,
    head_bytes_needed,
    seal,
    transcode,
    unseal,
    unseal_head,
)
from onlooker.cache_store.errors import RecordCorrupt, RecordForeign
from onlooker.cache_store.key import SegmentKind, StreamKey
from tests.unit.cache_store.factories import (
    STREAM,
    assert_same,
    make_encoded,
    make_key,
    make_record,
)


def sealed(index: int = 0) -> bytes:
    return b"".join(seal(make_encoded(index)))


def resigned(data: bytearray) -> bytes:
    """`data` with its head digest made right again, as a later version would have written it."""
    end = head_bytes_needed(bytes(data[:PREFIX_BYTES]))
    digest = xxhash.xxh3_128(bytes(data[:48]))
    digest.update(bytes(data[PREFIX_BYTES:end]))
    data[48:64] = digest.digest()
    return bytes(data)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_raw_record_comes_back_to_the_bit_and_read_only(dtype: str) -> None:
    record = make_record(5, dtype=dtype)
    found = decode(unseal(b"".join(seal(encode(record))), record.key))
    assert_same(found, record)
    assert not found.kv.flags.writeable
    assert not found.index_row.flags.writeable


def test_infinities_and_nan_payloads_survive_raw() -> None:
    kv = np.array([np.inf, -np.inf, np.nan, -0.0], np.float32).reshape(1, 2, 1, 1, 2)
    kv.view(np.uint32)[0, 0, 0, 0, 0] = 0x7FC0_1234
    record = make_record(kv=kv)
    assert_same(decode(unseal(b"".join(seal(encode(record))), record.key)), record)


def test_raw_kv_is_a_view_of_the_bytes_that_were_read() -> None:
    data = np.frombuffer(sealed(), np.uint8)
    assert np.shares_memory(decode(unseal(data.data, make_key())).kv, data)


def test_the_payload_is_aligned() -> None:
    assert len(seal(make_encoded())[0]) % ALIGN == 0


def test_the_head_is_read_without_the_kv() -> None:
    data = sealed(9)
    end = head_bytes_needed(data[:PREFIX_BYTES])
    assert end < len(data)
    head = unseal_head(data[:end], make_key(9), total_bytes=len(data))
    assert (head.base, head.num_tokens, head.start_s, head.end_s) == (63, 4, 9.0, 9.5)
    assert np.array_equal(head.index_row, np.full((2, 3), 9, np.float16))
    assert head.kv_bytes == make_record(9).kv.nbytes


@pytest.mark.parametrize(
    "other",
    [
        StreamKey("model-b", "tenant-a", "camera-1"),
        StreamKey("model-a", "tenant-b", "camera-1"),
        StreamKey("model-a", "tenant-a", "camera-2"),
        StreamKey("model-a", "tenant-a", "camera-1", generation=1),
    ],
)
def test_another_model_tenant_stream_or_generation_is_foreign(other: StreamKey) -> None:
    data = b"".join(seal(make_encoded(key=make_key(3, stream=other))))
    with pytest.raises(RecordForeign):
        unseal(data, make_key(3))
    with pytest.raises(RecordForeign):
        unseal_head(data, make_key(3), total_bytes=len(data))


def test_another_index_or_kind_is_foreign() -> None:
    with pytest.raises(RecordForeign):
        unseal(sealed(1), make_key(2))
    with pytest.raises(RecordForeign):
        unseal(sealed(1), STREAM.segment(SegmentKind.TEXT, 1))


@pytest.mark.parametrize("data", [b"", b"OLKV", b"hello", b"<html>" * 100, bytes(1000)])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises((RecordCorrupt, RecordForeign)):
        unseal(data, make_key())


def test_an_unknown_version_is_foreign() -> None:
    data = bytearray(sealed())
    struct.pack_into("<H", data, 4, VERSION + 1)
    with pytest.raises(RecordForeign, match=f"format {VERSION + 1}"):
        unseal(bytes(data), make_key())


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"codec":"raw"', b'"codec":"zip"'), (b'"dtype":"float32"', b'"dtype":"float8x"')],
)
def test_a_codec_or_dtype_of_a_later_version_is_foreign(old: bytes, new: bytes) -> None:
    data = bytearray(sealed().replace(old, new))
    with pytest.raises(RecordForeign, match="unknown"):
        unseal(resigned(data), make_key())


def test_a_sound_head_whose_parts_contradict_each_other_is_corrupt() -> None:
    data = sealed()
    for old, new in ((b'"num_tokens":4', b'"num_tokens":5'), (b"[2,2,2,4,8]", b"[2,2,2,4,9]")):
        assert old in data
        with pytest.raises(RecordCorrupt):
            unseal(resigned(bytearray(data.replace(old, new))), make_key())


def test_a_truncated_or_extended_record_is_corrupt() -> None:
    data = sealed()
    for damaged in (data[:-1], data[: len(data) // 2], data + b"\0"):
        with pytest.raises(RecordCorrupt):
            unseal(damaged, make_key())


def test_a_lossy_record_is_not_coded_again() -> None:
    coded = make_encoded(codec=CODECS["int8"])
    assert transcode(coded, CODECS["int4"]) is coded
    assert transcode(coded, CODECS["raw"]) is coded
    assert transcode(make_encoded(), CODECS["int4"]).head.codec == "int4"


def test_the_binary_form_does_not_change_unnoticed() -> None:
    """A change of the format needs another VERSION, or old records turn into misses or worse."""
    kv = np.arange(16, dtype=np.float32).reshape(1, 2, 1, 2, 4)
    data = b"".join(seal(encode(make_record(1, kv=kv))))
    assert xxhash.xxh3_128_hexdigest(data) == "ca1be89115459a53a76490ef4cf3945e"
