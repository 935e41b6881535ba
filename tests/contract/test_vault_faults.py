"""Faults of tiers as the engine's worker meets them: never wrong KV, never an error, counted."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from onlooker.cache_store.config import CacheStoreSection
from onlooker.cache_store.key import StreamKey
from onlooker.engine.memory.plan import SaveSpan
from onlooker.engine.vllm_adapter.worker.arena import Segment
from onlooker.engine.vllm_adapter.worker.rotary import Rotary
from onlooker.engine.vllm_adapter.worker.vault import Vault
from tests.contract.redis_server import RedisServer
from tests.fakes.waiting import WAIT_S

pytestmark = pytest.mark.redis

STREAM = StreamKey("model-a", "tenant-a", "door", 7)
NUM = 6
"""Of 384 KiB each: two fit RAM."""

MakeVault = Callable[..., Vault]


class Still:
    """A rotary embedding that turns nothing."""

    def remove(self, keys: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return keys


def key(index: int, stream: StreamKey = STREAM) -> str:
    return f"{stream.prefix}clip/{index:010d}"


def segment(index: int) -> Segment:
    values = torch.arange(2 * 48 * 8 * 64, dtype=torch.float32).reshape(2, 48, 8, 64) + index
    return Segment(values, -values, 0, None)


def save(vault: Vault, *indexes: int, stream: StreamKey = STREAM) -> None:
    for index in indexes:
        span = SaveSpan(key(index, stream), 0, 48, 0, start_s=index, end_s=index + 0.5)
        vault.save(span, segment(index), None)


def loaded(vault: Vault, stream: StreamKey = STREAM) -> list[int]:
    """Which segments can be read; each is what was saved."""
    found = vault.load([key(index, stream) for index in range(NUM)])
    for index in range(NUM):
        if (hit := found.get(key(index, stream))) is not None:
            assert torch.equal(hit[0].keys, segment(index).keys)
            assert torch.equal(hit[0].values, segment(index).values)
    return [index for index in range(NUM) if key(index, stream) in found]


def undurable(vault: Vault) -> list[int]:
    """Asks until it stays the same, as the engine does each second."""
    keys = [key(index) for index in range(NUM)]
    vault.undurable(keys)
    if vault._again is not None:
        vault._again.result(WAIT_S)
    assert vault.flush(WAIT_S)
    return [keys.index(found) for found in vault.undurable(keys)]


@pytest.fixture
def make_vault(redis_clean: RedisServer) -> Iterator[MakeVault]:
    made: list[Vault] = []

    def make(**redis: Any) -> Vault:
        section = CacheStoreSection.model_validate(
            {
                "memory": {"budget_bytes": 1 << 20},
                "redis": {
                    "url": redis_clean.url,
                    "timeout_s": 0.3,
                    "min_backoff_s": 0.01,
                    "max_backoff_s": 0.02,
                    **redis,
                },
                "write_out": {"retry_s": 0.01, "max_attempts": 1},
            }
        )
        made.append(Vault(section, cast(Rotary, Still())))
        return made[-1]

    yield make
    for vault in made:
        vault.close()


@pytest.fixture
def absent(redis_clean: RedisServer) -> Iterator[RedisServer]:
    """A Redis that is down now; it is up again, and empty, after the test."""
    redis_clean.kill()
    yield redis_clean
    redis_clean.kill()
    redis_clean.start()


def test_redis_down_at_start_keeps_nobody_waiting_and_is_written_later(
    make_vault: MakeVault, absent: RedisServer
) -> None:
    vault = make_vault()
    assert vault.generations(f"{STREAM.model}/tenant-a/door/") == ([], False)
    save(vault, 0, 1)
    assert loaded(vault) == [0, 1]  # RAM has them
    assert undurable(vault) == [0, 1]
    absent.start()
    while undurable(vault):
        pass
    assert loaded(make_vault()) == [0, 1]


def test_redis_down_in_the_middle_is_a_miss_that_is_counted(
    make_vault: MakeVault, redis_clean: RedisServer, absent: RedisServer
) -> None:
    absent.start()
    vault = make_vault()
    save(vault, *range(NUM))
    assert undurable(vault) == []
    absent.kill()
    assert loaded(vault) == [4, 5]
    assert vault.totals()["redis"]["read_errors"] >= NUM - 2
    rows, is_complete = vault.rows(STREAM.prefix)
    assert len(rows) == 2
    assert not is_complete
    absent.start()  # empty
    while vault.totals()["redis"]["misses"] < NUM - 2:  # left alone for a while after it failed
        assert loaded(vault) == [4, 5]


def test_a_redis_that_answers_nothing_costs_its_time_limit(
    make_vault: MakeVault, redis_clean: RedisServer
) -> None:
    vault = make_vault(max_backoff_s=60.0, min_backoff_s=60.0, max_failures=1)
    save(vault, *range(NUM))
    assert undurable(vault) == []
    redis_clean.hang()
    try:
        assert loaded(vault) == [4, 5]
        failures = vault.totals()["redis"]["read_errors"]
        assert loaded(vault) == [4, 5]  # left alone by now: at once
        assert vault.totals()["redis"]["read_errors"] > failures
    finally:
        redis_clean.go_on()


def test_what_redis_evicted_is_missed(make_vault: MakeVault, redis_clean: RedisServer) -> None:
    vault = make_vault()
    save(vault, *range(NUM))
    assert undurable(vault) == []
    with redis_clean.client() as client:
        client.delete(f"onlooker:1:{key(1)}", f"onlooker:1:{key(2)}")
    assert loaded(make_vault()) == [0, 3, 4, 5]


def test_a_record_of_another_tenant_or_model_is_never_taken(
    make_vault: MakeVault, redis_clean: RedisServer
) -> None:
    vault = make_vault()
    others = [StreamKey("model-b", "tenant-a", "door", 7), StreamKey("model-a", "acme", "door", 7)]
    save(vault, *range(NUM))
    for other in others:
        save(vault, *range(NUM), stream=other)
    assert vault.flush(WAIT_S)
    with redis_clean.client() as client:
        for place, other in enumerate(others):
            foreign = client.get(f"onlooker:1:{key(5, other)}")
            client.set(f"onlooker:1:{key(place)}", foreign)
        whole = client.get(f"onlooker:1:{key(2)}")
        client.set(f"onlooker:1:{key(2)}", whole[:-1000])
        client.set(f"onlooker:1:{key(3)}", whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    fresh = make_vault()
    _, is_complete = fresh.rows(STREAM.prefix)
    assert not is_complete
    assert loaded(fresh) == [4, 5]
    totals = fresh.totals()["redis"]
    assert totals["foreign"] >= 2
    assert totals["corrupt"] >= 1


def test_a_disk_without_room_is_told_and_costs_nothing_else(tmp_path: Path) -> None:
    section = CacheStoreSection.model_validate(
        {
            "memory": {"budget_bytes": 1 << 20},
            "disk": {"path": tmp_path, "budget_bytes": 1 << 20},
        }
    )
    vault = Vault(section, cast(Rotary, Still()))
    save(vault, *range(NUM))
    assert vault.flush(WAIT_S)
    assert set(loaded(vault)) >= {4, 5}
    assert vault.totals()["disk"]["evicted"] > 0
    vault.close()
