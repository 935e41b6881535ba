"""How fast each tier saves and loads, per codec, beside the plain limit of its medium.

A record's KV is 1 MiB of bfloat16. The limits are copying the same KV in RAM; writing (and syncing)
and reading files of the same bytes; and pipelined SET and GET of the same bytes with redis-py. Each
figure is the median of several rounds in which the limit and the tier take turns, as a shared
machine slows down for seconds at a time. GB/s are of decoded KV, so a lossy codec can pass its
limit. The allocator is told to keep freed memory, as it does in a process that has run for a while:
else the cost of fresh pages, paid by one side or the other by chance, hides all else.

A disk is read from the page cache, which is memory: there the check of every byte (XXH3) weighs
nearly as much as the reading. The rows `_cold` read what the page cache was told to forget, and so
the medium.

The row `disk_and_redis` reads every other record from the disk and the others from Redis, at the
same time; its limit is the plain reading of the files, and then the plain GETs.

Not shown: fresh pages; a Redis over a network, where waiting is most of what reading at once saves.
"""

import ctypes
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import redis

from onlooker.cache_store.codecs.table import CODECS
from onlooker.cache_store.config import DiskSection, RedisSection, WriteOutSection
from onlooker.cache_store.envelope import EncodedRecord, decode, encode, seal, transcode
from onlooker.cache_store.eviction import Lru
from onlooker.cache_store.key import SegmentKey, SegmentKind, StreamKey
from onlooker.cache_store.loads import KeyLoad
from onlooker.cache_store.lower_tiers import LowerTiers
from onlooker.cache_store.opening import open_disk, open_redis, write_out
from onlooker.cache_store.record import SegmentRecord
from onlooker.cache_store.tier import FetchOutcome, PutOutcome, StoreTier
from onlooker.cache_store.tiers.memory import MemoryTier
from onlooker.core.clock import SystemClock

NUM_RECORDS = 32
SHAPE = (8, 2, 4, 64, 128)
KV_BYTES = 2 * int(np.prod(SHAPE))
ROUNDS = 9
PIPELINE = 8
STREAM = StreamKey("benchmark", "tenant", "stream")

Step = Callable[[int], None]
"""A piece of work; it gets the number of the round, so that each can write under new names."""


def measure(seed: int) -> dict[str, Any]:
    """GB/s of decoded KV and ratios to the plain limits, by tier, codec and direction."""
    _keep_freed_memory()
    records = _records(seed)
    with tempfile.TemporaryDirectory(prefix="tiers") as folder:
        figures = {"memory": _memory(records), "disk": _disk(records, Path(folder) / "disk")}
        if shutil.which("redis-server"):
            figures |= _redis(records, Path(folder))
    return {"record_kv_bytes": KV_BYTES, "num_records": NUM_RECORDS, "tiers": figures}


def _keep_freed_memory() -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, at its upper limit
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def _records(seed: int) -> list[SegmentRecord]:
    random = np.random.default_rng(seed)
    made = []
    for index in range(NUM_RECORDS):
        kv = (random.normal(size=SHAPE).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        record = SegmentRecord(
            key=STREAM.segment(SegmentKind.CLIP, index),
            base=0,
            num_tokens=SHAPE[3],
            start_s=0.0,
            end_s=0.0,
            dtype="bfloat16",
            kv=kv,
            index_row=np.zeros((8, 4, 128), np.float16),
        )
        made.append(record.frozen())
    return made


def _memory(records: Sequence[SegmentRecord]) -> dict[str, Any]:
    target = np.empty_like(records[0].kv)
    targets = [record.kv.copy() for record in records]
    writable = [record.kv.copy() for record in records]

    def copy_in(_: int) -> None:
        for kv, record in zip(targets, records, strict=True):
            np.copyto(kv, record.kv)

    def copy_out(_: int) -> None:
        for record in records:
            np.copyto(target, record.kv)

    def save(_: int) -> None:
        """Save from buffers that the caller goes on to use, so that the store must copy."""
        for record, kv in zip(records, writable, strict=True):
            assert tier.put_many([encode(replace(record, kv=kv), codec)]) == [PutOutcome.STORED]

    def load(_: int) -> None:
        for record in records:
            found = tier.get_many([record.key])[0].record
            assert found is not None
            np.copyto(target, decode(found).kv)

    found = {}
    for name in CODECS:
        codec = CODECS[name]
        tier = MemoryTier(budget_bytes=1 << 30, policy=Lru())
        found[name] = _compare(save=(save, copy_in), load=(load, copy_out))
    return found


def _evict(folder: Path) -> None:
    """Have the page cache forget the files below `folder`, so that the medium is read."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def _disk(records: Sequence[SegmentRecord], root: Path) -> dict[str, Any]:
    contents = [b"".join(seal(encode(record))) for record in records]
    found = {}
    for sync in (False, True):
        for name, codec in CODECS.items():
            plain = root / "plain"
            plain.mkdir(parents=True)
            tier = open_disk(DiskSection(path=root / "tier", sync=sync))
            save, load = _steps(tier, [transcode(encode(record), codec) for record in records])
            figures = _compare(
                save=(save, partial(_write_files, plain, contents, sync)),
                load=(load, partial(_read_files, plain)),
            )
            found[name + ("_synced" if sync else "")] = figures
            if not sync:
                cold = _compare_one(load, partial(_read_files, plain), before=partial(_evict, root))
                found[f"{name}_cold"] = {"load_gb_per_s": cold[0], "load_ratio": cold[1]}
            tier.close()
            shutil.rmtree(root)
    return found


def _write_files(folder: Path, contents: Sequence[bytes], sync: bool, round_: int) -> None:
    for index, content in enumerate(contents):
        with (folder / f"{round_}-{index}").open("wb", buffering=0) as file:
            file.write(content)
            if sync:
                os.fsync(file.fileno())


def _read_files(folder: Path, round_: int) -> None:
    # The contents are kept until all are read, as a fetch for an answer keeps them.
    kept = [(folder / f"{round_}-{index}").read_bytes() for index in range(NUM_RECORDS)]
    assert len(kept) == NUM_RECORDS


def _redis(records: Sequence[SegmentRecord], folder: Path) -> dict[str, Any]:
    socket = folder / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 - fixed command
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if b"eady to accept connections" in line:
                break
        url = f"unix://{socket}"
        return {
            "redis": _redis_figures(records, url),
            "disk_and_redis": {"raw": _both(records, url, folder / "both")},
        }
    finally:
        server.kill()
        server.communicate()


def _redis_figures(records: Sequence[SegmentRecord], url: str) -> dict[str, Any]:
    contents = [b"".join(seal(encode(record))) for record in records]
    client = redis.Redis.from_url(url)

    def pipelined(command: Callable[[Any, int], object]) -> None:
        for start in range(0, NUM_RECORDS, PIPELINE):
            pipeline = client.pipeline(transaction=False)
            for index in range(start, start + PIPELINE):
                command(pipeline, index)
            assert all(pipeline.execute())

    def plain_set(round_: int) -> None:
        pipelined(lambda pipeline, index: pipeline.set(f"{round_}-{index}", contents[index]))

    def plain_get(round_: int) -> None:
        pipelined(lambda pipeline, index: pipeline.get(f"{round_}-{index}"))

    found = {}
    section = RedisSection.model_validate({"url": url, "timeout_s": 30, "slow_s": 60})
    for name, codec in CODECS.items():
        tier = open_redis(section, clock=SystemClock())
        save, load = _steps(tier, [transcode(encode(record), codec) for record in records])
        found[name] = _compare(save=(save, plain_set), load=(load, plain_get))
        tier.close()
        client.flushall()
    client.close()
    return found


def _both(records: Sequence[SegmentRecord], url: str, root: Path) -> dict[str, float]:
    """Loads from the disk and from Redis at once."""
    client = redis.Redis.from_url(url)
    disk = open_disk(DiskSection(path=root / "tier", sync=False))
    section = RedisSection.model_validate({"url": url, "timeout_s": 30, "slow_s": 60})
    shared = open_redis(section, clock=SystemClock())
    plain = root / "plain"
    plain.mkdir()
    encoded = [encode(record) for record in records]
    for tier, share in ((disk, encoded[::2]), (shared, encoded[1::2])):
        assert set(tier.put_many(share)) == {PutOutcome.STORED}
    for index, record in enumerate(encoded):
        content = b"".join(seal(record))
        if index % 2:
            client.set(f"plain-{index}", content)
        else:
            (plain / str(index)).write_bytes(content)
    found: list[EncodedRecord] = []
    queue = WriteOutSection()
    lower = LowerTiers(
        [write_out(tier, "raw", queue) for tier in (disk, shared)],
        on_found=lambda load, fetch, record, depth: found.append(record),
        max_beside=1,
    )

    def load(_: int) -> None:
        found.clear()
        assert not lower.read([KeyLoad(record.key) for record in records])
        assert len(found) == NUM_RECORDS

    def plain_load(_: int) -> None:
        kept = [(plain / str(index)).read_bytes() for index in range(0, NUM_RECORDS, 2)]
        for start in range(1, NUM_RECORDS, 2 * PIPELINE):
            pipeline = client.pipeline(transaction=False)
            for index in range(start, min(NUM_RECORDS, start + 2 * PIPELINE), 2):
                pipeline.get(f"plain-{index}")
            kept += pipeline.execute()
        assert len(kept) == NUM_RECORDS

    speed, ratio = _compare_one(load, plain_load)
    lower.close(1.0)
    for tier in (disk, shared):
        tier.close()
    client.flushall()
    client.close()
    return {"load_gb_per_s": speed, "load_ratio": ratio}


def _steps(tier: StoreTier, encoded: Sequence[EncodedRecord]) -> tuple[Step, Step]:
    """The steps that save and load all records. Coding is left out: in the server a writer thread
    does that off the path."""

    def key(record: EncodedRecord, round_: int) -> SegmentKey:
        return replace(record.key, generation=round_)

    rounds = [
        [replace(record, head=replace(record.head, key=key(record, n))) for record in encoded]
        for n in range(ROUNDS)
    ]

    def save(round_: int) -> None:
        assert set(tier.put_many(rounds[round_])) == {PutOutcome.STORED}

    def load(round_: int) -> None:
        fetches = tier.get_many([record.key for record in rounds[round_]])
        assert {fetch.outcome for fetch in fetches} == {FetchOutcome.HIT}

    return save, load


def _compare(*, save: tuple[Step, Step], load: tuple[Step, Step]) -> dict[str, float]:
    """GB/s of the first of each pair, and the ratio to the second: medians over the rounds."""
    figures = {}
    for name, (step, limit) in (("save", save), ("load", load)):
        figures[f"{name}_gb_per_s"], figures[f"{name}_ratio"] = _compare_one(step, limit)
    return figures


def _compare_one(
    step: Step, limit: Step, *, before: Callable[[], None] = os.sync
) -> tuple[float, float]:
    """GB/s of `step` and its ratio to `limit`: medians over the rounds.

    `before` is called before each piece of work. By default it writes out what earlier work left
    to write, so that this work does not pay for it.
    """
    rounds = [_round(step, limit, number, before) for number in range(ROUNDS)]
    step_s = statistics.median(taken_s for taken_s, _ in rounds)
    ratio = statistics.median(limit_s / taken_s for taken_s, limit_s in rounds)
    return round(NUM_RECORDS * KV_BYTES / step_s / 1e9, 3), round(ratio, 3)


def _round(step: Step, limit: Step, number: int, before: Callable[[], None]) -> tuple[float, float]:
    """The seconds that step and limit took in one round; they take turns in going first."""
    taken = {}
    for work in (step, limit) if number % 2 else (limit, step):
        before()
        started_s = time.perf_counter()
        work(number)
        taken[work] = time.perf_counter() - started_s
    return taken[step], taken[limit]
