from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onlooker.cache_store.codecs.bfloat16 import from_bfloat16, to_bfloat16
from onlooker.cache_store.codecs.table import CODECS
from onlooker.cache_store.envelope import decode, encode, seal, unseal
from onlooker.cache_store.errors import NotEncodable
from tests.unit.cache_store.factories import make_record, random_kv

SHAPE = (3, 2, 2, 16, 32)
LOSSY = ["int8", "int4", "cachegen"]


def relative_error(codec: str, part: int, kv: NDArray[Any]) -> float:
    record = make_record(kv=kv)
    found = decode(encode(record, CODECS[codec])).kv
    error = np.square(found[:, part] - kv[:, part]).mean()
    return float(np.sqrt(error / np.square(kv[:, part]).mean()))


@pytest.mark.parametrize(
    ("codec", "ratio"), [("raw", 1.0), ("int8", 0.30), ("int4", 0.18), ("cachegen", 0.15)]
)
def test_a_codec_takes_the_room_it_promises(codec: str, ratio: float) -> None:
    record = make_record(shape=SHAPE)
    size = encode(record, CODECS[codec]).payload.nbytes
    least, most = CODECS[codec].payload_bounds("float32", SHAPE)
    assert least <= size <= most
    assert (least == most) is (codec != "cachegen")
    assert size <= ratio * record.kv.nbytes


@pytest.mark.parametrize(("codec", "bound"), [("int8", 0.006), ("int4", 0.09)])
def test_the_error_is_as_small_as_the_number_of_bits_allows(codec: str, bound: float) -> None:
    kv = random_kv(1, SHAPE, "float32")
    assert 0 < relative_error(codec, 0, kv) < bound
    assert 0 < relative_error(codec, 1, kv) < 2 * bound  # the large channel widens each range


@pytest.mark.parametrize("codec", ["int4", "cachegen"])
def test_a_large_channel_of_keys_does_not_coarsen_the_others(codec: str) -> None:
    kv = random_kv(2, SHAPE, "float32")
    kv[:, 0, :, :, 0] += 1000
    found = decode(encode(make_record(kv=kv), CODECS[codec])).kv
    quiet = np.abs(found[:, 0, :, :, 1:] - kv[:, 0, :, :, 1:]).max()
    assert quiet < np.ptp(kv[:, 0, :, :, 1:]) / 7


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e5, -1e5])
@pytest.mark.parametrize("codec", LOSSY)
def test_values_that_do_not_fit_are_kept_raw(codec: str, bad: float) -> None:
    kv = random_kv(3, SHAPE, "float32")
    kv[1, 1, 0, 3, 7] = bad
    with pytest.raises(NotEncodable):
        CODECS[codec].encode(kv, "float32")
    encoded = encode(make_record(kv=kv), CODECS[codec])
    assert encoded.head.codec == "raw"
    assert decode(encoded).kv.tobytes() == kv.tobytes()


@pytest.mark.parametrize("codec", LOSSY)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_largest_values_that_fit_stay_finite(codec: str, dtype: str) -> None:
    kv = np.full((1, 2, 1, 4, 4), 60_000, np.float32)
    kv[..., ::2] = -60_000
    stored = to_bfloat16(kv.copy()) if dtype == "bfloat16" else kv.astype(dtype)
    found = decode(encode(make_record(kv=stored, dtype=dtype), CODECS[codec])).kv
    exact = from_bfloat16(found) if dtype == "bfloat16" else found.astype(np.float32)
    assert np.isfinite(exact).all()
    assert np.abs(exact - kv).max() < 120_000 / {"int8": 255, "int4": 15, "cachegen": 3}[codec]


@pytest.mark.parametrize("codec", ["int8", "int4"])
def test_an_odd_number_of_values_and_constants_survive(codec: str) -> None:
    kv = np.full((1, 2, 1, 1, 3), 0.5, np.float32)
    record = make_record(kv=kv)
    data = b"".join(seal(encode(record, CODECS[codec])))
    assert np.array_equal(decode(unseal(data, record.key)).kv, kv)


def test_bfloat16_rounds_to_nearest_even() -> None:
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -2.5], np.float32)
    expected = np.array([1.0, 1.0, 1 + 2**-6, 1 + 2**-7, -2.5], np.float32)
    assert np.array_equal(from_bfloat16(to_bfloat16(values.copy())), expected)
