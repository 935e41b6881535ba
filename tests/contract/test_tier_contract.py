"""What `StoreTier` promises, for every kind of tier."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from onlooker.cache_store.codecs.table import CODECS
from onlooker.cache_store.envelope import EncodedRecord, decode, encode
from onlooker.cache_store.key import SegmentKey, SegmentKind, StreamKey
from onlooker.cache_store.tier import FetchOutcome, PutOutcome, StoreTier
from tests.fakes.waiting import WAIT_S
from tests.unit.cache_store.factories import (
    STREAM,
    assert_same,
    make_encoded,
    make_key,
    make_record,
)

OTHERS = [
    StreamKey("model-b", "tenant-a", "camera-1"),
    StreamKey("model-a", "tenant-b", "camera-1"),
    StreamKey("model-a", "tenant-a", "camera-2"),
    StreamKey("model-a", "tenant-a", "camera-1", generation=1),
]


def put(tier: StoreTier, records: Sequence[EncodedRecord]) -> None:
    assert tier.put_many(records) == [PutOutcome.STORED] * len(records)


def indexes(keys: Sequence[SegmentKey] | None) -> list[int]:
    assert keys is not None
    return [key.index for key in keys]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("codec", list(CODECS))
def test_what_is_put_comes_back_to_the_bit(tier: StoreTier, dtype: str, codec: str) -> None:
    records = [make_encoded(i, dtype=dtype, codec=CODECS[codec]) for i in range(12)]
    put(tier, records)
    fetches = tier.get_many([record.key for record in records])
    assert [fetch.outcome for fetch in fetches] == [FetchOutcome.HIT] * 12
    for record, fetch in zip(records, fetches, strict=True):
        assert fetch.record is not None
        assert fetch.record.head.codec == codec
        assert_same(decode(fetch.record), decode(record))


def test_large_records_come_back_to_the_bit(tier: StoreTier) -> None:
    record = make_record(1, shape=(4, 2, 2, 16, 128))
    put(tier, [make_encoded(1, shape=(4, 2, 2, 16, 128))])
    fetch = tier.get_many([record.key])[0]
    assert fetch.record is not None
    assert_same(decode(fetch.record), record)


def test_a_batch_mixes_hits_and_misses_in_order(tier: StoreTier) -> None:
    put(tier, [make_encoded(index) for index in range(0, 20, 2)])
    fetches = tier.get_many([make_key(index) for index in (5, 4, 3, 2, 2)])
    assert [fetch.outcome.value for fetch in fetches] == ["miss", "hit", "miss", "hit", "hit"]
    assert [fetch.record.key.index for fetch in fetches if fetch.record] == [4, 2, 2]
    assert (tier.stats().hits, tier.stats().misses) == (3, 2)


def test_empty_batches_are_fine(tier: StoreTier) -> None:
    assert tier.get_many([]) == []
    assert tier.put_many([]) == []
    assert tier.contains_many([]) == []
    assert tier.delete_many([])
    assert tier.keys() == []
    assert list(tier.scan()) == []


def test_a_second_put_takes_the_place_of_the_first(tier: StoreTier) -> None:
    put(tier, [make_encoded(1, seed=1)])
    newer = make_record(1, seed=2, shape=(1, 2, 1, 3, 4))
    put(tier, [make_encoded(1, seed=2, shape=(1, 2, 1, 3, 4))])
    fetch = tier.get_many([make_key(1)])[0]
    assert fetch.record is not None
    assert_same(decode(fetch.record), newer)
    assert indexes(tier.keys()) == [1]


def test_deleting_takes_just_those(tier: StoreTier) -> None:
    put(tier, [make_encoded(index) for index in range(4)])
    assert tier.delete_many([make_key(1), make_key(9)])
    assert tier.contains_many([make_key(index) for index in range(4)]) == [True, False, True, True]
    assert indexes(tier.keys()) == [0, 2, 3]
    assert tier.get_many([make_key(1)])[0].outcome is FetchOutcome.MISS
    assert tier.stats().deleted == 1


@pytest.mark.parametrize("other", OTHERS, ids=lambda stream: stream.prefix)
def test_streams_tenants_models_and_generations_are_apart(
    tier: StoreTier, other: StreamKey
) -> None:
    put(tier, [make_encoded(0, seed=1), make_encoded(key=make_key(0, stream=other), seed=2)])
    for stream, seed in ((STREAM, 1), (other, 2)):
        key = make_key(0, stream=stream)
        assert tier.keys(stream.prefix) == [key]
        fetch = tier.get_many([key])[0]
        assert fetch.record is not None
        assert_same(decode(fetch.record), make_record(key=key, seed=seed))
    assert tier.delete_many([make_key(0)])
    assert tier.keys() == [make_key(0, stream=other)]


def test_keys_are_listed_by_prefix_in_order(tier: StoreTier) -> None:
    keys = [make_key(index) for index in (30, 2, 1)] + [make_key(0, kind=SegmentKind.TEXT)]
    keys += [make_key(7, stream=other) for other in OTHERS]
    put(tier, [make_encoded(key=key) for key in keys])
    assert tier.keys() == sorted(keys)
    assert indexes(tier.keys(STREAM.prefix)) == [1, 2, 30, 0]
    assert tier.keys(STREAM.prefix + "text/") == [make_key(0, kind=SegmentKind.TEXT)]
    of_camera = [key for key in keys if key.text.startswith("model-a/tenant-a/camera-1/")]
    assert tier.keys("model-a/tenant-a/camera-1/") == sorted(of_camera)
    assert tier.keys("model-a/tenant-a/camera-3/") == []


def test_a_scan_yields_heads_without_those_to_skip(tier: StoreTier) -> None:
    put(tier, [make_encoded(index) for index in range(30)])
    put(tier, [make_encoded(key=make_key(1, stream=OTHERS[0]))])
    heads = list(tier.scan(STREAM.prefix, skip={make_key(3)}))
    assert [head.key.index for head in heads if head] == [i for i in range(30) if i != 3]
    for head in heads:
        assert head is not None
        assert head.index_row.tolist() == [[head.key.index] * 3] * 2
        assert (head.base, head.start_s) == (7 * head.key.index, float(head.key.index))


def test_a_scan_reads_heads_of_any_size(tier: StoreTier) -> None:
    rows = [np.arange(size, dtype=np.float32) for size in (0, 10, 3000, 9000)]
    for index, row in enumerate(rows):
        put(tier, [encode(replace(make_record(index), index_row=row))])
    heads = sorted((head for head in tier.scan() if head), key=lambda head: head.key)
    assert [head.index_row.tolist() for head in heads] == [row.tolist() for row in rows]


def test_used_bytes_grow_and_shrink(tier: StoreTier) -> None:
    before = tier.used_bytes()
    records = [make_encoded(index, shape=(4, 2, 2, 16, 32)) for index in range(20)]
    put(tier, records)
    held = sum(record.payload.nbytes for record in records)
    assert tier.used_bytes() - before >= held
    assert tier.delete_many([record.key for record in records])
    assert tier.used_bytes() - before < held / 2


def test_many_threads_at_once_get_only_whole_records(tier: StoreTier) -> None:
    keys = [make_key(index) for index in range(6)]
    wrong: list[str] = []

    def write(seed: int) -> None:
        for round_ in range(8):
            tier.put_many([make_encoded(key=key, seed=seed) for key in keys])
            if round_ % 3 == seed % 3:
                tier.delete_many(keys[seed : seed + 2])

    def read() -> None:
        for _ in range(20):
            for key, fetch in zip(keys, tier.get_many(keys), strict=True):
                if fetch.outcome not in (FetchOutcome.HIT, FetchOutcome.MISS):
                    wrong.append(f"{key.text}: {fetch.outcome}")
                elif fetch.record is not None and not is_one_of(fetch.record):
                    wrong.append(f"{key.text}: mixed")
            list(tier.scan())

    possible = {
        decode(make_encoded(key=key, seed=s)).kv.tobytes() for key in keys for s in range(3)
    }

    def is_one_of(record: EncodedRecord) -> bool:
        return bytes(record.payload) in possible

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert wrong == []
