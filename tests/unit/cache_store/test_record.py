from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.unit.cache_store.factories import make_record, random_kv


def test_a_writable_array_is_copied_and_a_read_only_one_handed_over() -> None:
    kv = random_kv(0, (1, 2, 1, 2, 4), "float32")
    copied = make_record(kv=kv).frozen()
    assert not np.shares_memory(copied.kv, kv)
    assert not copied.kv.flags.writeable
    kv.flags.writeable = False
    assert make_record(kv=kv).frozen().kv is kv


def test_a_transposed_array_is_brought_in_order() -> None:
    kv = random_kv(0, (3, 2, 1, 2, 4), "float32").swapaxes(0, 4).copy().swapaxes(0, 4)
    kv.flags.writeable = False
    assert not kv.flags.c_contiguous
    frozen = make_record(kv=kv).frozen()
    assert frozen.kv.flags.c_contiguous
    assert np.array_equal(frozen.kv, kv)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float64"}, "dtype must be one of"),
        ({"dtype": "float16"}, "cannot be an array of float32"),
        ({"num_tokens": 5}, "shape"),
        ({"kv": np.zeros((2, 3, 2, 4, 8), np.float32)}, "shape"),
        ({"kv": np.zeros((2, 2, 2, 4, 0), np.float32)}, "shape"),
        ({"index_row": np.zeros(3)}, "index_row"),
        ({"base": -1}, "base"),
        ({"start_s": 2.0, "end_s": 1.0}, "span"),
        ({"end_s": float("nan")}, "span"),
        ({"meta": {"a": [1]}}, "plain values"),
        ({"meta": {"a": "x" * 40_000}}, "over the limit"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(make_record(), **change)
