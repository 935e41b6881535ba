"""Deleted segments: nothing of them is left in RAM, on disk or in a real Redis, by name or by
bytes."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from onlooker.cache_store.config import CacheStoreSection
from onlooker.engine.memory.plan import SaveSpan
from onlooker.engine.vllm_adapter.worker.arena import Segment, SegmentArena
from onlooker.engine.vllm_adapter.worker.rotary import Rotary
from onlooker.engine.vllm_adapter.worker.vault import Vault
from tests.contract.redis_server import RedisServer
from tests.contract.test_vault_faults import STREAM, Still, key
from tests.fakes.waiting import WAIT_S, in_time

pytestmark = pytest.mark.redis

NUM = 6
GONE, KEPT = (1, 2, 4), (0, 3, 5)

MakeVault = Callable[..., Vault]


@pytest.fixture
def make_vault(lone_redis: RedisServer, tmp_path: Path) -> Iterator[MakeVault]:
    lone_redis.start()
    made: list[Vault] = []

    def make(**more: Any) -> Vault:
        section = CacheStoreSection.model_validate(
            {
                "memory": {"budget_bytes": 16 << 20},
                "disk": {"path": tmp_path / "disk", "codec": "raw"},
                "redis": {
                    "url": lone_redis.url,
                    "codec": "raw",
                    "timeout_s": 0.3,
                    "min_backoff_s": 0.01,
                    "max_backoff_s": 0.02,
                },
                "write_out": {"retry_s": 0.01},
                **more,
            }
        )
        made.append(Vault(section, cast(Rotary, Still())))
        return made[-1]

    yield make
    for vault in made:
        with contextlib.suppress(RuntimeError):  # the test has closed it
            vault.close()


def segment(index: int) -> Segment:
    """A segment whose bytes no other has."""
    values = np.random.default_rng(index).standard_normal((2, 16, 2, 8)).astype(np.float32)
    return Segment(torch.from_numpy(values), torch.from_numpy(-values), 0, None)


def traces(index: int) -> list[bytes]:
    """What tells of a segment: its name as the tiers write it, and parts of its numbers."""
    found = segment(index)
    rows = [found.keys[0, 0, 0], found.values[1, 15, 1]]
    return [f"/{index:010d}".encode(), *(row.numpy().tobytes() for row in rows)]


def save(vault: Vault, arena: SegmentArena, *indexes: int) -> None:
    for index in indexes:
        span = SaveSpan(key(index), 0, 16, 0, start_s=index, end_s=index + 0.5)
        entries = torch.full((2, 2, 8), float(index))
        vault.save(span, segment(index), entries)
        arena.put(key(index), segment(index), entries)


def on_disk(folder: Path) -> bytes:
    """All names and contents of files."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    names = b"".join(f"/{path.stem}\n".encode() for path in paths)
    return names + b"".join(path.read_bytes() for path in paths)


def in_redis(server: RedisServer) -> bytes:
    """All names and values."""
    client: Any = server.client()
    found = b""
    for name in client.scan_iter():
        found += b"\n" + name
        kind = client.type(name)
        found += client.get(name) or b"" if kind == b"string" else b"".join(client.smembers(name))
    return found


def forget(vault: Vault, arena: SegmentArena) -> None:
    keys = [key(index) for index in GONE]
    vault.delete(STREAM.prefix, keys)
    arena.drop(keys)


def until_done(vault: Vault) -> None:
    def wait() -> None:
        while vault.unreached(STREAM.prefix):
            pass

    in_time("the deletion", wait)


def test_nothing_of_deleted_segments_is_left_anywhere(
    make_vault: MakeVault, lone_redis: RedisServer, tmp_path: Path
) -> None:
    vault = make_vault()
    arena = SegmentArena(budget_bytes=1 << 20, backing=vault)
    save(vault, arena, *range(NUM))
    assert vault.flush(WAIT_S)
    for index in range(NUM):
        for trace in traces(index):
            assert trace in on_disk(tmp_path), "else the test could not fail"
            assert trace in in_redis(lone_redis), "else the test could not fail"
    forget(vault, arena)
    until_done(vault)
    disk, redis = on_disk(tmp_path), in_redis(lone_redis)
    for index in GONE:
        for trace in traces(index):
            assert trace not in disk
            assert trace not in redis
    for index in KEPT:
        assert all(trace in disk and trace in redis for trace in traces(index))
    assert set(arena.index) == {key(index) for index in KEPT}
    found = {*arena.found_here(every := [key(i) for i in range(NUM)]), *vault.load(every)}
    assert sorted(set(every) - found) == [key(i) for i in GONE]
    assert [row.key for row, _ in vault.rows(STREAM.prefix)[0]] == [key(i) for i in KEPT]


def test_what_waits_to_be_written_is_not_written(
    make_vault: MakeVault, lone_redis: RedisServer, tmp_path: Path
) -> None:
    vault = make_vault()
    arena = SegmentArena(budget_bytes=1 << 20, backing=vault)
    lone_redis.hang()
    save(vault, arena, *range(NUM))
    forget(vault, arena)
    lone_redis.go_on()
    until_done(vault)
    assert vault.flush(WAIT_S)
    for index in GONE:
        for trace in traces(index):
            assert trace not in on_disk(tmp_path)
            assert trace not in in_redis(lone_redis)
    assert [row.key for row, _ in vault.rows(STREAM.prefix)[0]] == [key(i) for i in KEPT]


def test_what_a_redis_that_was_away_kept_is_deleted_by_the_next_server(
    make_vault: MakeVault, lone_redis: RedisServer, tmp_path: Path
) -> None:
    before = make_vault()
    save(before, SegmentArena(budget_bytes=1 << 20, backing=before), *range(NUM))
    assert before.flush(WAIT_S)
    before.close()
    away = make_vault(redis={"url": f"unix://{tmp_path}/nobody", "min_backoff_s": 0.01})
    forget(away, SegmentArena(budget_bytes=1 << 20, backing=away))

    def wait_until_disk_is_done() -> None:
        while away.unreached(STREAM.prefix) != ["redis"]:
            pass

    in_time("the disk to be done", wait_until_disk_is_done)
    assert away.load([key(index) for index in GONE]) == {}
    away.close()
    assert all(trace in in_redis(lone_redis) for trace in traces(GONE[0]))
    after = make_vault()
    until_done(after)
    for index in GONE:
        for trace in traces(index):
            assert trace not in in_redis(lone_redis)
            assert trace not in on_disk(tmp_path)
    assert sorted(after.load([key(index) for index in range(NUM)])) == [key(i) for i in KEPT]
