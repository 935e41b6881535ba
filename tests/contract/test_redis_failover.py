"""What servers of a fleet share in Redis, once the address leads to another server."""

from collections.abc import Iterator

import pytest

from onlooker.cache_store.leases import Claim, RedisLeases
from onlooker.cache_store.redis_client import MAX_AGE_S, open_blocking_client, open_client
from onlooker.cache_store.stream_tables import StreamTables
from onlooker.core.clock import ManualClock
from tests.contract.redis_server import RedisServer

pytestmark = pytest.mark.redis

NOBODY = ("127.0.0.1", "1")
KEEP = "return redis.call('HSET', KEYS[2], 'one', '1')"


class Address:
    """A name that leads to one server until `fail_over`, and to an empty one after it; the first
    then is a replica, which keeps its connections and what it has."""

    def __init__(self, old: RedisServer, new: RedisServer) -> None:
        self._old, self._new = old, new
        self._name = old.socket.with_name("name.sock")
        self._name.symlink_to(old.socket)
        self.url = f"unix://{self._name}"

    def fail_over(self) -> None:
        with self._old.client() as client:
            client.replicaof(*NOBODY)
        self._name.unlink()
        self._name.symlink_to(self._new.socket)


@pytest.fixture
def address(lone_redis: RedisServer) -> Iterator[Address]:
    new = RedisServer(lone_redis.socket.parent, "new")
    lone_redis.start()
    new.start()
    yield Address(lone_redis, new)
    new.kill()


async def test_a_lease_that_a_demoted_primary_refuses_is_had_of_the_new_one(
    address: Address,
) -> None:
    leases = RedisLeases(
        address.url, namespace="n", server="a", url="", lease_s=60, fence_s=60, timeout_s=5.0
    )
    first = await leases.acquire("tenant/stream")
    address.fail_over()
    again = await leases.acquire("tenant/stream")
    assert isinstance(first, Claim)
    assert isinstance(again, Claim)
    assert await leases.renew([("tenant/stream", again.epoch)]) == [1]
    await leases.close()


async def test_several_writes_at_once_go_to_the_new_primary(address: Address) -> None:
    client = open_client(address.url, timeout_s=5.0)
    await client.set("one", "1")
    address.fail_over()
    async with client.pipeline(transaction=False) as pipeline:
        pipeline.set("two", "2")
        pipeline.get("one")
        assert await pipeline.execute() == [True, None]
    await client.aclose()


def test_a_row_that_a_demoted_primary_refuses_is_kept_by_the_new_one(address: Address) -> None:
    tables = StreamTables(
        address.url, namespace="n", what="album", timeout_s=5.0, unreachable=OSError
    )
    tables.run(KEEP, ["rows"], "tenant/stream", None)
    address.fail_over()
    assert tables.run(KEEP, ["rows"], "tenant/stream", None) == 1  # it was not there
    tables.close()


async def test_who_only_reads_does_not_read_long_from_a_demoted_primary(address: Address) -> None:
    clock = ManualClock()
    client = open_client(address.url, timeout_s=5.0, clock=clock)
    await client.set("one", "1")
    address.fail_over()
    clock.advance(MAX_AGE_S)
    assert await client.get("one") is None
    await client.aclose()


def test_nor_does_a_thread_that_only_reads(address: Address) -> None:
    clock = ManualClock()
    client = open_blocking_client(address.url, timeout_s=5.0, clock=clock)
    client.set("one", "1")
    address.fail_over()
    clock.advance(MAX_AGE_S)
    assert client.get("one") is None
    client.close()
