"""One stream, two engines' vaults on a real Redis: what each may write, and what each believes."""

from collections.abc import Callable, Iterator
from typing import cast

import pytest

from onlooker.cache_store.config import CacheStoreSection
from onlooker.cache_store.leases import Claim
from onlooker.engine.memory.plan import SaveSpan
from onlooker.engine.vllm_adapter.worker.rotary import Rotary
from onlooker.engine.vllm_adapter.worker.vault import Vault
from tests.contract.redis_server import RedisServer
from tests.contract.test_vault_faults import STREAM, Still, key, save, segment
from tests.fakes.waiting import WAIT_S

pytestmark = pytest.mark.redis

NAME = f"{STREAM.tenant}/{STREAM.stream}"
FENCE = f"onlooker:1:fence:{NAME}"
FIRST, SECOND, THIRD = Claim(1), Claim(2, is_handed_over=True), Claim(3, is_handed_over=True)

MakeVault = Callable[[], Vault]


@pytest.fixture
def make_vault(redis_clean: RedisServer) -> Iterator[MakeVault]:
    made: list[Vault] = []

    def make() -> Vault:
        section = CacheStoreSection.model_validate(
            {"memory": {"budget_bytes": 16 << 20}, "redis": {"url": redis_clean.url}}
        )
        made.append(Vault(section, cast(Rotary, Still())))
        return made[-1]

    yield make
    for vault in made:
        vault.close()


def own(vault: Vault, claim: Claim, redis: RedisServer) -> None:
    """Have the stream, as after `LeaseStore.acquire`."""
    with redis.client() as client:
        client.hset(FENCE, "epoch", claim.epoch)
    vault.own(NAME, claim)


def save_other(vault: Vault, index: int) -> None:
    """Save a clip of this index that shows another scene, the one of index 5."""
    span = SaveSpan(key(index), 0, 48, 0, start_s=index, end_s=index + 0.5)
    vault.save(span, segment(5), None)


def first_number(vault: Vault, index: int) -> float | None:
    """The first number of a segment's keys; None where the vault has no such segment."""
    found = vault.load([key(index)])
    return None if not found else float(found[key(index)][0].keys.flatten()[0])


def test_a_ghost_writes_nothing_and_finds_its_own_copies_gone_when_it_has_the_stream_again(
    make_vault: MakeVault, redis_clean: RedisServer
) -> None:
    ghost, owner = make_vault(), make_vault()
    own(ghost, FIRST, redis_clean)
    save(ghost, 0, 1)
    assert ghost.flush(WAIT_S)
    own(owner, SECOND, redis_clean)
    assert first_number(owner, 1) == 1.0, "what was shared goes on"

    save(ghost, 2)  # it does not know yet
    assert ghost.flush(WAIT_S)
    assert ghost.undurable([key(2)]) == [key(2)]
    assert first_number(owner, 2) is None
    assert ghost.totals()["redis"]["fenced"] >= 1

    save_other(owner, 2)
    assert owner.flush(WAIT_S)
    assert owner.undurable([key(2)]) == []

    assert first_number(ghost, 2) == 2.0, "until it is told, the ghost believes in its own"
    own(ghost, THIRD, redis_clean)
    assert first_number(ghost, 2) == 5.0


def test_a_stream_that_was_elsewhere_is_read_from_what_is_shared(
    make_vault: MakeVault, redis_clean: RedisServer
) -> None:
    vault = make_vault()
    own(vault, FIRST, redis_clean)
    save(vault, 0)
    assert vault.flush(WAIT_S)
    assert vault.load([key(0)])[key(0)][1] == "memory"
    own(vault, THIRD, redis_clean)
    assert vault.load([key(0)])[key(0)][1] == "redis"


def test_a_stream_that_stayed_is_read_from_ram(
    make_vault: MakeVault, redis_clean: RedisServer
) -> None:
    vault = make_vault()
    own(vault, FIRST, redis_clean)
    save(vault, 0)
    assert vault.flush(WAIT_S)
    own(vault, Claim(2), redis_clean)
    assert vault.load([key(0)])[key(0)][1] == "memory"
