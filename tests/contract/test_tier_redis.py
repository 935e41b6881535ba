"""What may happen to a Redis, with a real one."""

import pytest

from onlooker.cache_store.envelope import decode, seal
from onlooker.cache_store.key import SegmentKey
from onlooker.cache_store.tier import FetchOutcome, PutOutcome
from onlooker.cache_store.tiers.redis import RedisTier
from onlooker.core.clock import ManualClock
from tests.contract.conftest import MakeRedis
from tests.contract.redis_server import RedisServer
from tests.unit.cache_store.factories import (
    STREAM,
    assert_same,
    make_encoded,
    make_key,
    make_record,
)

pytestmark = pytest.mark.redis

MEMBERS = f"onlooker:1:members:{STREAM.prefix}"


def name_of(key: SegmentKey) -> str:
    return f"onlooker:1:{key.text}"


def outcomes(tier: RedisTier, *indexes: int) -> list[str]:
    return [fetch.outcome.value for fetch in tier.get_many([make_key(i) for i in indexes])]


def scanned(tier: RedisTier) -> list[int | None]:
    return [head.key.index if head else None for head in tier.scan(STREAM.prefix)]


def test_another_replica_finds_everything(make_redis: MakeRedis) -> None:
    make_redis().put_many([make_encoded(index) for index in range(40)])
    other = make_redis()
    assert scanned(other) == list(range(40))
    for index, fetch in enumerate(other.get_many([make_key(index) for index in range(40)])):
        assert fetch.record is not None
        assert_same(decode(fetch.record), make_record(index))


def test_a_server_that_is_down_gives_errors_and_comes_back(
    make_redis: MakeRedis, redis_clean: RedisServer
) -> None:
    clock = ManualClock()
    tier = make_redis(clock, max_failures=1, min_backoff_s=5)
    tier.put_many([make_encoded(0)])
    redis_clean.kill()
    try:
        assert outcomes(tier, 0, 1) == ["error", "error"]
        assert tier.put_many([make_encoded(1)]) == [PutOutcome.ERROR]
        assert tier.contains_many([make_key(0)]) == [None]
        assert tier.keys() is None
        assert scanned(tier) == [None]
        assert not tier.delete_many([make_key(0)])
        assert tier.used_bytes() == 0
        assert (tier.stats().read_errors, tier.stats().write_errors) == (2, 1)
    finally:
        redis_clean.start()
    assert outcomes(tier, 0) == ["error"]  # still left alone
    clock.advance(5.0)
    assert outcomes(tier, 0) == ["miss"]  # and started empty
    assert tier.put_many([make_encoded(0)]) == [PutOutcome.STORED]
    assert outcomes(tier, 0) == ["hit"]


def test_a_restart_between_two_calls_costs_nothing_but_the_records(
    make_redis: MakeRedis, redis_clean: RedisServer
) -> None:
    tier = make_redis(max_failures=1)
    tier.put_many([make_encoded(0)])
    redis_clean.kill()
    redis_clean.start()
    assert outcomes(tier, 0) == ["miss"]
    assert scanned(tier) == []


def test_a_server_that_hangs_is_asked_once_and_then_left_alone(
    make_redis: MakeRedis, redis_clean: RedisServer
) -> None:
    tier = make_redis(max_failures=1, timeout_s=0.5)
    tier.put_many([make_encoded(index) for index in range(20)])
    redis_clean.hang()
    try:
        assert outcomes(tier, *range(20)) == ["error"] * 20  # 20 records are several round trips
        assert outcomes(tier, *range(20)) == ["error"] * 20
        assert tier.put_many([make_encoded(0)]) == [PutOutcome.ERROR]
    finally:
        redis_clean.go_on()


def test_replies_of_an_abandoned_round_trip_are_never_taken_for_others(
    make_redis: MakeRedis, redis_clean: RedisServer
) -> None:
    clock = ManualClock()
    tier = make_redis(clock, max_failures=1, timeout_s=0.5, min_backoff_s=1)
    tier.put_many([make_encoded(index, shape=(2, 2, 2, 32, 128)) for index in range(4)])
    redis_clean.hang()
    outcomes(tier, 0, 1)
    redis_clean.go_on()
    clock.advance(1.0)
    for index in (2, 3, 0, 1):
        fetch = tier.get_many([make_key(index)])[0]
        assert fetch.record is not None
        assert_same(decode(fetch.record), make_record(index, shape=(2, 2, 2, 32, 128)))


def test_a_slow_server_counts_as_failing(make_redis: MakeRedis) -> None:
    class Slow(ManualClock):
        def now_s(self) -> float:
            self.advance(0.6)
            return super().now_s()

    tier = make_redis(Slow(), slow_s=0.5, max_failures=1, min_backoff_s=60, max_backoff_s=60)
    assert outcomes(tier, 0) == ["miss"]
    assert outcomes(tier, 0) == ["error"]


def test_a_full_server_refuses_and_keeps_what_it_has(
    make_redis: MakeRedis, redis_clean: RedisServer
) -> None:
    tier = make_redis()
    tier.put_many([make_encoded(0)])
    with redis_clean.client() as client:
        client.config_set("maxmemory", 1)
        client.config_set("maxmemory-policy", "noeviction")
        try:
            assert tier.put_many([make_encoded(1), make_encoded(2)]) == [PutOutcome.REFUSED] * 2
        finally:
            client.config_set("maxmemory", 0)
    assert tier.stats().refused == 2
    assert outcomes(tier, 0, 1) == ["hit", "miss"]
    assert scanned(tier) == [0]


def test_an_evicting_server_loses_records_but_none_is_wrong(
    make_redis: MakeRedis, redis_clean: RedisServer
) -> None:
    tier = make_redis()
    shape = (4, 2, 2, 32, 64)
    with redis_clean.client() as client:
        limit = int(client.info("memory")["used_memory"]) + 4_000_000
        client.config_set("maxmemory-policy", "allkeys-random")
        client.config_set("maxmemory", limit)
        try:
            for index in range(100):
                tier.put_many([make_encoded(index, shape=shape)])
        finally:
            client.config_set("maxmemory", 0)
            client.config_set("maxmemory-policy", "noeviction")
    fetches = tier.get_many([make_key(index) for index in range(100)])
    hits = [fetch.record for fetch in fetches if fetch.record]
    assert 0 < len(hits) < 100
    for record in hits:
        assert_same(decode(record), make_record(record.key.index, shape=shape))
    assert sorted(index for index in scanned(tier) if index is not None) == [
        record.key.index for record in hits
    ]


def test_a_lost_set_of_members_is_made_again(
    make_redis: MakeRedis, redis_clean: RedisServer
) -> None:
    tier = make_redis()
    tier.put_many([make_encoded(index) for index in range(3)])
    assert scanned(tier) == [0, 1, 2]
    with redis_clean.client() as client:
        assert client.sismember(MEMBERS, "*")
        client.delete(MEMBERS)
        tier.put_many([make_encoded(3)])  # begins a set without the older ones
        assert scanned(make_redis()) == [0, 1, 2, 3]
        assert client.scard(MEMBERS) == 5


def test_records_that_redis_lost_leave_the_set_of_members(
    make_redis: MakeRedis, redis_clean: RedisServer
) -> None:
    tier = make_redis()
    tier.put_many([make_encoded(index) for index in range(3)])
    with redis_clean.client() as client:
        client.delete(name_of(make_key(1)))
        assert scanned(tier) == [0, 2]
        assert not client.sismember(MEMBERS, make_key(1).text)


def test_deleting_a_stream_leaves_nothing_behind(
    make_redis: MakeRedis, redis_clean: RedisServer
) -> None:
    tier = make_redis()
    tier.put_many([make_encoded(index) for index in range(30)])
    keys = tier.keys(STREAM.prefix)
    assert keys is not None
    assert tier.delete_many(keys)
    with redis_clean.client() as client:
        assert client.keys() == [b"onlooker:1:marker"]


def test_records_and_their_set_expire(make_redis: MakeRedis, redis_clean: RedisServer) -> None:
    make_redis(ttl_s=100).put_many([make_encoded(0)])
    with redis_clean.client() as client:
        assert 0 < client.ttl(name_of(make_key(0))) <= 100
        assert 0 < client.ttl(MEMBERS) <= 100


def test_without_a_ttl_nothing_expires(make_redis: MakeRedis, redis_clean: RedisServer) -> None:
    make_redis(ttl_s=None).put_many([make_encoded(0)])
    with redis_clean.client() as client:
        assert client.ttl(name_of(make_key(0))) == -1


def test_a_record_of_another_tenant_or_model_under_the_name_is_foreign(
    make_redis: MakeRedis, redis_clean: RedisServer
) -> None:
    tier = make_redis()
    tier.put_many([make_encoded(0)])
    for name in ("tenant-b", "tenant-c"):
        stream = STREAM.__class__(STREAM.model, name, STREAM.stream)
        data = b"".join(seal(make_encoded(key=make_key(0, stream=stream))))
        with redis_clean.client() as client:
            client.set(name_of(make_key(0)), data)
        assert outcomes(tier, 0) == ["foreign"]
        assert scanned(tier) == [None]
    assert tier.stats().foreign == 4


def test_other_things_under_the_name_are_foreign_and_their_neighbours_unharmed(
    make_redis: MakeRedis, redis_clean: RedisServer
) -> None:
    tier = make_redis()
    tier.put_many([make_encoded(index) for index in range(4)])
    with redis_clean.client() as client:
        client.delete(name_of(make_key(1)))
        client.hset(name_of(make_key(1)), "a", "b")
        client.set(name_of(make_key(2)), "x" * 200)
    assert outcomes(tier, 0, 1, 2, 3) == ["hit", "foreign", "foreign", "hit"]
    assert scanned(tier) == [0, None, None, 3]


@pytest.mark.parametrize("keep", [1, 63, 64, 700, -1])
def test_a_truncated_record_is_corrupt_and_deleted(
    make_redis: MakeRedis, redis_clean: RedisServer, keep: int
) -> None:
    tier = make_redis()
    tier.put_many([make_encoded(0), make_encoded(1)])
    data = b"".join(seal(make_encoded(0)))
    with redis_clean.client() as client:
        client.set(name_of(make_key(0)), data[:keep])
        assert outcomes(tier, 0, 1) == ["corrupt", "hit"]
        assert not client.exists(name_of(make_key(0)))
        client.set(name_of(make_key(0)), data[:keep])
        assert scanned(tier) == [None, 1]
        assert not client.exists(name_of(make_key(0)))


def test_a_set_of_members_of_another_type_does_no_lasting_harm(
    make_redis: MakeRedis, redis_clean: RedisServer
) -> None:
    tier = make_redis()
    with redis_clean.client() as client:
        client.set(MEMBERS, "not a set")
    assert tier.put_many([make_encoded(0)]) == [PutOutcome.STORED]
    assert scanned(tier) == [0]


def test_namespaces_are_apart(make_redis: MakeRedis) -> None:
    one, two = make_redis(namespace="one"), make_redis(namespace="two")
    one.put_many([make_encoded(0)])
    assert two.get_many([make_key(0)])[0].outcome is FetchOutcome.MISS
    assert two.keys() == []


class Ticking(ManualClock):
    """A second passes with each look at it."""

    def now_s(self) -> float:
        self.advance(1.0)
        return super().now_s()


def test_a_listing_that_takes_too_long_is_given_up_and_told_as_incomplete(
    make_redis: MakeRedis, redis_clean: RedisServer
) -> None:
    make_redis().put_many([make_encoded(index) for index in range(1500)])
    hasty = make_redis(Ticking(), list_timeout_s=5.0, slow_s=60.0)
    patient = make_redis(Ticking(), list_timeout_s=300.0, slow_s=60.0)
    found = scanned(hasty)
    assert found[-1] is None
    assert len(found) < 1500
    assert scanned(patient) == list(range(1500))
    with redis_clean.client() as client:
        client.mset({f"somebody-else:{index}": "" for index in range(30_000)})
    assert hasty.keys() is None
    assert [key.index for key in patient.keys() or ()] == list(range(1500))
