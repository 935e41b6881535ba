"""What is said to be durable in Redis, and what Redis does to that: with real servers."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from onlooker.cache_store.config import CacheStoreSection
from onlooker.engine.vllm_adapter.worker.rotary import Rotary
from onlooker.engine.vllm_adapter.worker.vault import Vault
from tests.contract.redis_server import RedisServer, free_port
from tests.contract.test_vault_faults import Still, key, loaded, save
from tests.fakes.waiting import WAIT_S, in_time

pytestmark = pytest.mark.redis

KEYS = [key(index) for index in range(6)]
NEVER_S = 3600.0
"""Between two looks of the thread that looks by itself."""

MakeVault = Callable[..., Vault]


@pytest.fixture
def server(lone_redis: RedisServer) -> RedisServer:
    lone_redis.start()
    return lone_redis


@pytest.fixture
def make_vault(server: RedisServer) -> Iterator[MakeVault]:
    made: list[Vault] = []

    def make(
        *,
        check_s: float = 0.01,
        memory_bytes: int = 16 << 20,
        redis: dict[str, Any] | None = None,
        **more: Any,
    ) -> Vault:
        section = CacheStoreSection.model_validate(
            {
                "memory": {"budget_bytes": memory_bytes},
                "redis": {
                    "url": server.url,
                    "timeout_s": 1.0,
                    "min_backoff_s": 0.01,
                    "max_backoff_s": 0.02,
                    "check_s": check_s,
                    **(redis or {}),
                },
                "write_out": {"retry_s": 0.01},
                **more,
            }
        )
        made.append(Vault(section, cast(Rotary, Still())))
        return made[-1]

    yield make
    for vault in made:
        vault.close()


def saved(vault: Vault) -> None:
    """Have all segments durable."""
    save(vault, *range(6))
    assert vault.flush(WAIT_S)
    assert vault.undurable(KEYS) == []
    assert vault.is_kept()


def restart_empty(server: RedisServer) -> None:
    server.kill()
    server.start()


def await_kept(vault: Vault) -> None:
    """Until all is there again; asks as the engine does each second."""
    while vault.undurable(KEYS) or not vault.is_kept():
        pass


def await_doubt(vault: Vault) -> None:
    while vault.moves()["doubted"] == 0:
        pass


def num_in(server: RedisServer) -> int:
    with server.client() as client:
        return len(client.keys("*/clip/*"))


def test_what_ram_has_is_written_again_to_a_redis_that_came_back_empty(
    make_vault: MakeVault, server: RedisServer
) -> None:
    vault = make_vault()
    saved(vault)
    restart_empty(server)
    await_doubt(vault)
    await_kept(vault)
    assert num_in(server) == 6
    assert loaded(make_vault()) == [*range(6)]  # the next engine's
    assert vault.moves()["written_again"] >= 6


def test_until_then_nothing_is_durable_and_nothing_is_promised(
    make_vault: MakeVault, server: RedisServer
) -> None:
    vault = make_vault()
    saved(vault)
    server.kill()
    server.start("--maxmemory", "1")  # it takes nothing
    await_doubt(vault)
    assert not vault.is_kept()
    assert vault.undurable(KEYS) == KEYS
    assert not vault.is_kept()
    with server.client() as client:
        client.config_set("maxmemory", 0)
    await_kept(vault)
    assert num_in(server) == 6


def test_what_was_lost_for_good_is_never_called_durable_again(
    make_vault: MakeVault, server: RedisServer
) -> None:
    vault = make_vault(memory_bytes=1 << 20)  # has room for two
    saved(vault)
    restart_empty(server)
    await_doubt(vault)
    while not vault.is_kept():
        vault.undurable(KEYS)
    assert vault.undurable(KEYS) == KEYS[:4]
    assert loaded(vault) == [4, 5]
    assert num_in(server) == 2


def test_a_write_notices_that_redis_came_back_empty(
    make_vault: MakeVault, server: RedisServer
) -> None:
    vault = make_vault(check_s=NEVER_S)
    saved(vault)
    restart_empty(server)
    save(vault, 0)
    assert vault.flush(WAIT_S)
    await_doubt(vault)
    await_kept(vault)
    assert num_in(server) == 6


def test_a_redis_that_is_left_alone_is_looked_at_all_the_same(
    make_vault: MakeVault, server: RedisServer
) -> None:
    """It came back empty after it had not answered for long."""
    vault = make_vault(
        memory_bytes=1 << 20,  # has room for two
        redis={"min_backoff_s": NEVER_S, "max_backoff_s": NEVER_S, "max_failures": 1},
    )
    saved(vault)
    server.kill()
    assert loaded(vault) == [4, 5]  # now it is left alone
    assert vault.is_kept()
    server.start()
    await_doubt(vault)
    assert not vault.is_kept()


def test_a_redis_that_hangs_holds_the_end_of_the_watch_for_a_moment_only(
    make_vault: MakeVault, server: RedisServer
) -> None:
    vault = make_vault(check_s=NEVER_S, redis={"timeout_s": 60.0})
    saved(vault)
    watch = vault._store._write_outs[0].tier.watch  # type: ignore[attr-defined]
    server.hang()
    try:
        looking = threading.Thread(target=watch.look)
        watch._thread = looking
        looking.start()
        in_time("the watch to end", watch.close)
        assert looking.is_alive()
    finally:
        server.go_on()
    looking.join(WAIT_S)


def test_a_flushed_redis_is_filled_again(make_vault: MakeVault, server: RedisServer) -> None:
    vault = make_vault()
    saved(vault)
    with server.client() as client:
        client.flushall()
    await_doubt(vault)
    await_kept(vault)
    assert num_in(server) == 6


def test_after_a_fail_over_what_the_new_primary_lacks_is_written_to_it(
    make_vault: MakeVault, server: RedisServer
) -> None:
    """A replica that was promoted has the marker, but not the last writes."""
    vault = make_vault()
    saved(vault)
    with server.client() as client:
        marker = client.get("onlooker:1:marker")
        old = client.dump(f"onlooker:1:{KEYS[0]}")
    server.kill()
    server.start()
    with server.client() as client:
        client.set("onlooker:1:marker", marker)
        client.restore(f"onlooker:1:{KEYS[0]}", 0, old, replace=True)
    await_doubt(vault)
    await_kept(vault)
    assert num_in(server) == 6


def test_what_was_evicted_is_written_again_once_redis_does_not_evict(
    make_vault: MakeVault, server: RedisServer
) -> None:
    vault = make_vault()
    saved(vault)
    with server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-random")
        client.config_set("maxmemory", 1)
        while num_in(server):
            client.ping()
        while vault.is_kept():  # as good as a cache
            pass
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 0)
    await_kept(vault)
    assert num_in(server) == 6


def test_a_redis_that_evicts_is_told_to_keep_nothing_from_the_beginning(
    make_vault: MakeVault, server: RedisServer
) -> None:
    with server.client() as client:
        client.config_set("maxmemory-policy", "volatile-lru")
        client.config_set("maxmemory", 1 << 30)
    vault = make_vault()
    save(vault, 0)
    assert vault.flush(WAIT_S)
    assert not vault.is_kept()
    assert vault.undurable([KEYS[0]]) == []  # it is there, as long as it lasts


def test_with_a_disk_the_guarantee_is_the_disks_and_redis_is_filled_from_it(
    make_vault: MakeVault, server: RedisServer, tmp_path: Any
) -> None:
    vault = make_vault(memory_bytes=1 << 20, disk={"path": tmp_path / "disk"})
    saved(vault)
    restart_empty(server)
    await_doubt(vault)
    assert vault.is_kept()
    assert vault.undurable(KEYS) == []
    while num_in(server) < 6:
        pass


def test_a_redis_that_kept_everything_is_only_asked(
    make_vault: MakeVault, server: RedisServer
) -> None:
    """It was started again, and read its file."""
    vault = make_vault()
    saved(vault)
    with server.client() as client:
        client.save()
    server.kill()
    server.start("--dbfilename", "dump.rdb")
    await_doubt(vault)
    await_kept(vault)
    assert vault.moves()["written_again"] == 0


def test_after_a_promotion_what_was_not_replicated_is_written_to_the_new_primary(
    make_vault: MakeVault, server: RedisServer
) -> None:
    """The name leads to the promoted replica; connections to the demoted primary still stand."""
    port = free_port()
    server.kill()
    server.start("--port", str(port), "--bind", "127.0.0.1")
    replica = RedisServer(server.socket.parent, "replica")
    replica.start("--replicaof", f"127.0.0.1 {port}", "--repl-diskless-sync-delay", "0")
    name = server.socket.with_name("name.sock")
    name.symlink_to(server.socket)
    vault = make_vault(redis={"url": f"unix://{name}"})
    try:
        save(vault, 0, 1, 2)
        assert vault.flush(WAIT_S)
        while num_in(replica) < 3:
            pass
        with replica.client() as client:
            client.replicaof("NO", "ONE")
        save(vault, 3, 4, 5)
        assert vault.flush(WAIT_S)
        assert vault.undurable(KEYS) == []
        name.unlink()
        name.symlink_to(replica.socket)
        with server.client() as client:
            client.replicaof("127.0.0.1", "1")
        save(vault, 5)  # answered READONLY, upon which connections are made anew
        await_doubt(vault)
        await_kept(vault)
        assert num_in(replica) == 6
    finally:
        replica.kill()
