"""Segments and tiers for tests."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onlooker.cache_store.codecs.base import KvCodec
from onlooker.cache_store.codecs.table import RAW
from onlooker.cache_store.envelope import EncodedRecord, encode
from onlooker.cache_store.eviction import Lru
from onlooker.cache_store.files import Files
from onlooker.cache_store.key import SegmentKey, SegmentKind, StreamKey
from onlooker.cache_store.record import DTYPES, SegmentRecord
from onlooker.cache_store.refill import OnDoubt
from onlooker.cache_store.tier import StoreTier
from onlooker.cache_store.tiered_store import OnDurable, TieredStore
from onlooker.cache_store.tiers.disk import DiskTier
from onlooker.cache_store.tiers.memory import MemoryTier
from onlooker.cache_store.write_out import WriteOut

STREAM = StreamKey("model-a", "tenant-a", "camera-1")


def make_key(
    index: int = 0, *, stream: StreamKey = STREAM, kind: SegmentKind = SegmentKind.CLIP
) -> SegmentKey:
    return stream.segment(kind, index)


def random_kv(seed: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """KV as a model makes it, roughly: finite, centred on zero, a few large channels."""
    random = np.random.default_rng(seed)
    values = random.normal(size=shape).astype(np.float32)
    values[..., 0] += 8
    if dtype == "bfloat16":
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(DTYPES[dtype])


def make_record(
    index: int = 0,
    *,
    key: SegmentKey | None = None,
    seed: int | None = None,
    shape: tuple[int, int, int, int, int] = (2, 2, 2, 4, 8),
    dtype: str = "float32",
    kv: NDArray[Any] | None = None,
) -> SegmentRecord:
    key = key or make_key(index)
    kv = random_kv(key.index if seed is None else seed, shape, dtype) if kv is None else kv
    return SegmentRecord(
        key=key,
        base=7 * key.index,
        num_tokens=kv.shape[3],
        start_s=float(key.index),
        end_s=key.index + 0.5,
        dtype=dtype,
        kv=kv,
        index_row=np.full((2, 3), key.index % 1000, np.float16),
        meta={"clip": key.index, "note": "ü"},
    )


def make_encoded(index: int = 0, *, codec: KvCodec = RAW, **fields: Any) -> EncodedRecord:
    return encode(make_record(index, **fields), codec)


def make_memory(budget_bytes: int = 1 << 20) -> MemoryTier:
    return MemoryTier(budget_bytes=budget_bytes, policy=Lru())


def make_disk(
    root: Path, *, budget_bytes: int = 1 << 24, sync: bool = False, files: Files | None = None
) -> DiskTier:
    return DiskTier(root, budget_bytes=budget_bytes, policy=Lru(), sync=sync, files=files)


def make_write_out(tier: StoreTier, **settings: Any) -> WriteOut:
    values: dict[str, Any] = {
        "codec": RAW,
        "max_bytes": 1 << 24,
        "max_records": 1000,
        "batch_bytes": 1 << 20,
        "batch_records": 8,
        "max_attempts": 2,
        "retry_s": 0.001,
    }
    return WriteOut(tier, **(values | settings))


def make_store(
    *tiers: StoreTier,
    memory: MemoryTier | None = None,
    memory_codec: KvCodec = RAW,
    on_durable: OnDurable | None = None,
    on_doubt: OnDoubt | None = None,
    max_beside: int = 4,
    **queue: Any,
) -> TieredStore:
    """A started store over `tiers`, upper first."""
    store = TieredStore(
        memory or make_memory(),
        [make_write_out(tier, **queue) for tier in tiers],
        memory_codec=memory_codec,
        on_durable=on_durable,
        on_doubt=on_doubt,
        max_beside=max_beside,
    )
    for tier in tiers:
        if isinstance(tier, DiskTier):
            tier.on_evicting = partial(store.demote, tier.name)
    store.start()
    return store


def assert_same(found: SegmentRecord | None, expected: SegmentRecord) -> None:
    """All of a record, its KV to the bit."""
    assert found is not None
    for name in ("key", "base", "num_tokens", "start_s", "end_s", "dtype"):
        assert getattr(found, name) == getattr(expected, name), name
    assert dict(found.meta) == dict(expected.meta)
    assert found.kv.dtype == expected.kv.dtype
    assert found.kv.shape == expected.kv.shape
    assert found.kv.tobytes() == expected.kv.tobytes()
    assert found.index_row.dtype == expected.index_row.dtype
    assert found.index_row.shape == expected.index_row.shape
    assert found.index_row.tobytes() == expected.index_row.tobytes()
