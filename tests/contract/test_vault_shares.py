"""Workers with some of a model's heads each, on one folder and one real Redis."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from onlooker.cache_store.config import CacheStoreSection
from onlooker.engine.memory.plan import SaveSpan
from onlooker.engine.vllm_adapter.worker.arena import Segment
from onlooker.engine.vllm_adapter.worker.head_share import HeadShare
from onlooker.engine.vllm_adapter.worker.rotary import Rotary
from onlooker.engine.vllm_adapter.worker.vault import Vault
from tests.contract.redis_server import RedisServer
from tests.contract.test_vault_faults import STREAM, Still, key
from tests.fakes.waiting import WAIT_S, in_time

pytestmark = pytest.mark.redis

LIVES = f"{STREAM.model}/{STREAM.tenant}/{STREAM.stream}/"
"""What the names of all lives of the stream begin with."""

HALVES = HeadShare(0, 2), HeadShare(1, 2)

MakeVault = Callable[[HeadShare], Vault]


@pytest.fixture(params=["disk", "redis"])
def tier(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_vault(tier: str, lone_redis: RedisServer, tmp_path: Path) -> Iterator[MakeVault]:
    place: dict[str, Any] = {"path": tmp_path / "disk"}
    if tier == "redis":
        lone_redis.start()
        place = {"url": lone_redis.url, "timeout_s": 1.0}
    made: list[Vault] = []

    def make(share: HeadShare) -> Vault:
        section = CacheStoreSection.model_validate({tier: place})
        made.append(Vault(section, cast(Rotary, Still()), share=share))
        return made[-1]

    yield make
    for vault in made:
        with contextlib.suppress(RuntimeError):  # the test has closed it
            vault.close()


def heads(number: int) -> Segment:
    """What one worker has of a segment."""
    keys = torch.full((2, 16, 2, 8), float(number))
    return Segment(keys, -keys, 0, None)


def save(vault: Vault, number: int) -> None:
    span = SaveSpan(key(3), 0, 16, 0)
    vault.save(span, heads(number), torch.full((2, 1, 2, 8), float(number)))
    assert vault.flush(WAIT_S)


def until_deleted(vault: Vault) -> None:
    while vault.unreached(STREAM.prefix):
        pass


def test_workers_that_share_a_place_do_not_meet(make_vault: MakeVault, tier: str) -> None:
    first = [make_vault(share) for share in HALVES]
    for number, vault in enumerate(first):
        save(vault, number)
    for vault in first:
        vault.close()
    for number, share in enumerate(HALVES):
        vault = make_vault(share)
        assert vault.generations(LIVES) == ([STREAM.generation], True)
        ((stored, entries),), is_complete = vault.rows(STREAM.prefix)
        assert (stored.key, is_complete) == (key(3), True)
        assert entries is not None
        assert torch.equal(entries, torch.full((2, 1, 2, 8), float(number)))
        segment, found = vault.load([key(3)])[key(3)]
        assert found == tier
        assert torch.equal(segment.keys, heads(number).keys)


def test_deleting_reaches_every_worker_s_heads(make_vault: MakeVault) -> None:
    vaults = [make_vault(share) for share in HALVES]
    for number, vault in enumerate(vaults):
        save(vault, number)
        vault.delete(STREAM.prefix, [key(3)])
    for vault in vaults:
        in_time("the deletion", partial(until_deleted, vault))
        assert vault.load([key(3)]) == {}
        assert vault.generations(LIVES) == ([], True)


@pytest.mark.parametrize(("was", "now"), [(1, 2), (2, 1), (4, 2)])
def test_what_another_number_of_gpus_stored_is_missed_counted_and_told(
    make_vault: MakeVault, tier: str, was: int, now: int, caplog: pytest.LogCaptureFixture
) -> None:
    before = make_vault(HeadShare(0, was))
    save(before, 1)
    before.close()
    after = make_vault(HeadShare(0, now))
    with caplog.at_level(logging.WARNING):
        assert after.generations(LIVES) == ([], True)
        after._elsewhere.settle()
    assert after.load([key(3)]) == {}
    assert after.totals()[tier]["foreign"] == 1
    assert "engine.vllm.tensor_parallel_size" in caplog.text
    after.close()
    again = make_vault(HeadShare(0, was))
    assert torch.equal(again.load([key(3)])[key(3)][0].keys, heads(1).keys), "it is still there"


def test_a_stream_that_is_new_everywhere_is_not_foreign(make_vault: MakeVault, tier: str) -> None:
    vault = make_vault(HeadShare(0, 2))
    assert vault.generations(LIVES) == ([], True)
    vault._elsewhere.settle()
    assert vault.totals()[tier]["foreign"] == 0
