"""A Redis that answers, but with errors: each kind is counted, told once, and met in its way."""

import logging
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from onlooker.cache_store.config import RedisSection
from onlooker.cache_store.opening import open_redis
from onlooker.cache_store.tier import PutOutcome
from onlooker.cache_store.tiers.redis import RedisTier
from onlooker.cache_store.tiers.redis_replies import TELL_INTERVAL_S
from onlooker.core.clock import ManualClock
from tests.contract.redis_server import RedisServer, free_port
from tests.fakes.resp_server import resp_server
from tests.fakes.waiting import WAIT_S, in_time
from tests.unit.cache_store.factories import make_encoded, make_key

pytestmark = pytest.mark.redis

BACKOFF_S = 1.0
MAX_BACKOFF_S = 30.0
NOBODY = ("127.0.0.1", "1")
STORED, ERROR, REFUSED = PutOutcome.STORED, PutOutcome.ERROR, PutOutcome.REFUSED


def put(tier: RedisTier, index: int = 0) -> PutOutcome:
    return tier.put_many([make_encoded(index)])[0]


def got(tier: RedisTier, index: int = 0) -> str:
    return tier.get_many([make_key(index)])[0].outcome.value


def make_tier(url: str, clock: ManualClock) -> RedisTier:
    section = RedisSection.model_validate(
        {"url": url, "min_backoff_s": BACKOFF_S, "max_backoff_s": MAX_BACKOFF_S, "max_failures": 1}
    )
    return open_redis(section, clock=clock)


@pytest.fixture
def primary(redis_clean: RedisServer) -> Iterator[RedisServer]:
    """It is a primary with room again after the test, whatever the test made of it."""
    yield redis_clean
    with redis_clean.client() as client:
        client.replicaof("NO", "ONE")
        client.config_set("maxmemory", 0)
        client.config_set("min-replicas-to-write", 0)


def test_after_a_fail_over_records_go_to_the_new_primary(
    lone_redis: RedisServer, tmp_path: Path
) -> None:
    """The name leads to another server, but connections to the old one still stand."""
    new = RedisServer(lone_redis.socket.parent, "new")
    name = lone_redis.socket.with_name("name.sock")
    clock = ManualClock()
    lone_redis.start()
    new.start()
    name.symlink_to(lone_redis.socket)
    tier = make_tier(f"unix://{name}", clock)
    assert put(tier, 0) is STORED
    with lone_redis.client() as client:
        client.replicaof(*NOBODY)
    name.unlink()
    name.symlink_to(new.socket)
    assert put(tier, 1) is ERROR
    assert got(tier, 0) == "miss"  # asked of the new one
    clock.advance(BACKOFF_S)
    assert put(tier, 1) is STORED
    with new.client() as client:
        assert client.exists(f"onlooker:1:{make_key(1).text}")
    tier.close()
    new.kill()


def test_after_a_fail_over_nobody_reads_from_the_demoted_primary_either(
    lone_redis: RedisServer,
) -> None:
    """It refuses writes, and answers those who read, also by connections that were in use when the
    refusal came."""
    new = RedisServer(lone_redis.socket.parent, "new")
    name = lone_redis.socket.with_name("name.sock")
    lone_redis.start()
    new.start()
    name.symlink_to(lone_redis.socket)
    tier = make_tier(f"unix://{name}", ManualClock())
    assert put(tier, 0) is STORED
    with lone_redis.client() as client:
        client.replicaof(*NOBODY)
        waiting = [("XREAD", "BLOCK", "0", "STREAMS", "nothing", "$")]
        reading = threading.Thread(target=tier._link.send, args=(waiting,))
        reading.start()
        in_time("the read to wait", lambda: until(lambda: blocked(client)))
        assert put(tier, 1) is ERROR
        name.unlink()
        name.symlink_to(new.socket)
        client.client_unblock(blocked(client)[0])
        reading.join(WAIT_S)
    assert got(tier, 0) == "miss"
    tier.close()
    new.kill()


def blocked(client: redis.Redis) -> list[int]:
    """The connections that wait for something."""
    return [int(one["id"]) for one in client.client_list() if "b" in one["flags"]]


def until(happens: Callable[[], object]) -> None:
    while not happens():
        pass


def test_a_replica_is_read_and_not_asked_to_write_all_the_time(primary: RedisServer) -> None:
    clock = ManualClock()
    tier = make_tier(primary.url, clock)
    put(tier, 0)
    with primary.client() as client:
        client.replicaof(*NOBODY)
        assert put(tier, 1) is ERROR
        told = tier.stats().error_replies
        assert told > 0
        assert put(tier, 1) is ERROR  # not even sent
        assert tier.stats().error_replies == told
        assert got(tier, 0) == "hit"
        client.replicaof("NO", "ONE")
    clock.advance(BACKOFF_S)
    assert put(tier, 1) is STORED
    tier.close()


def test_a_full_server_is_read_and_emptied_but_not_filled(primary: RedisServer) -> None:
    clock = ManualClock()
    tier = make_tier(primary.url, clock)
    put(tier, 0)
    with primary.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        assert [put(tier, 1), put(tier, 1)] == [REFUSED, REFUSED]
        assert got(tier, 0) == "hit"
        assert tier.delete_many([make_key(0)])
        client.config_set("maxmemory", 0)
    clock.advance(BACKOFF_S)
    assert put(tier, 1) is STORED
    tier.close()


def test_a_server_without_enough_replicas_is_not_asked_to_write(primary: RedisServer) -> None:
    clock = ManualClock()
    tier = make_tier(primary.url, clock)
    put(tier, 0)
    with primary.client() as client:
        client.config_set("min-replicas-to-write", 1)
        assert put(tier, 1) is ERROR
        assert got(tier, 0) == "hit"
    tier.close()


def test_a_server_that_lost_its_primary_is_left_alone(primary: RedisServer) -> None:
    clock = ManualClock()
    tier = make_tier(primary.url, clock)
    put(tier, 0)
    with primary.client() as client:
        client.config_set("replica-serve-stale-data", "no")
        client.replicaof(*NOBODY)
        try:
            assert got(tier, 0) == "error"  # MASTERDOWN
        finally:
            client.replicaof("NO", "ONE")
            client.config_set("replica-serve-stale-data", "yes")
    assert got(tier, 0) == "error"
    clock.advance(BACKOFF_S)
    assert got(tier, 0) == "hit"
    tier.close()


def test_a_wrong_password_is_told_once_and_not_tried_all_the_time(
    lone_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    lone_redis.start("--requirepass", "right")
    clock = ManualClock()
    path = lone_redis.socket
    for url in (f"unix://:wrong@{path}", f"unix://{path}"):
        caplog.clear()
        tier = make_tier(url, clock)
        with caplog.at_level(logging.WARNING, "onlooker"):
            assert [put(tier), got(tier)] == [ERROR, "error"]
            clock.advance(MAX_BACKOFF_S - 1)
            assert got(tier) == "error"
        assert tier.stats().error_replies == 1
        assert [record.message for record in caplog.records] == ["Redis refuses to do its work"]
        assert "wrong" not in caplog.text.replace("WRONGPASS", "")
        tier.close()
    tier = make_tier(f"unix://:right@{path}", clock)
    assert put(tier) is STORED
    tier.close()


def test_a_user_without_rights_is_told_and_left_alone(
    lone_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    lone_redis.start()
    with lone_redis.client() as client:
        client.acl_setuser("guest", enabled=True, nopass=True, keys=["*"], commands=["+get"])
    clock = ManualClock()
    tier = make_tier(f"unix://guest:any@{lone_redis.socket}", clock)
    with caplog.at_level(logging.WARNING, "onlooker"):
        assert put(tier) is ERROR
    assert "NOPERM" in {getattr(record, "code", "") for record in caplog.records}
    clock.advance(BACKOFF_S)
    assert got(tier) == "error"
    tier.close()


def test_trouble_that_goes_on_is_told_now_and_then(
    primary: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    tier = make_tier(primary.url, clock)
    with primary.client() as client, caplog.at_level(logging.WARNING, "onlooker"):
        client.replicaof(*NOBODY)
        for _ in range(6):
            put(tier)
            clock.advance(TELL_INTERVAL_S / 2)
    assert len(caplog.records) == 3
    tier.close()


def test_records_go_over_tls(lone_redis: RedisServer, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
            "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    linked = subprocess.run(["redis-server", "--tls-port", "-1"], capture_output=True, text=True)
    if "Bad directive" in linked.stdout + linked.stderr:
        pytest.skip("this redis-server was built without TLS")
    port = free_port()
    lone_redis.start(
        "--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key),
        "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no", "--bind", "127.0.0.1",
    )  # fmt: skip
    clock = ManualClock()
    trusting = make_tier(f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}", clock)
    assert [put(trusting), got(trusting)] == [STORED, "hit"]
    strict = make_tier(f"rediss://localhost:{port}/0", clock)  # trusts no such certificate
    assert got(strict) == "error"
    plain = make_tier(f"redis://localhost:{port}/0", clock)
    assert got(plain) == "error"
    for tier in (trusting, strict, plain):
        tier.close()


def test_a_server_that_cannot_write_its_disk_is_read_and_not_filled(
    lone_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    lone_redis.start("--save", "3600 1", "--enable-protected-configs", "yes")
    clock = ManualClock()
    tier = make_tier(lone_redis.url, clock)
    assert put(tier, 0) is STORED
    lone_redis.socket.with_name("taken.rdb").mkdir()  # no file can be written over a folder
    with lone_redis.client() as client:
        client.config_set("dbfilename", "taken.rdb")
        client.bgsave()
        while client.info("persistence")["rdb_last_bgsave_status"] != "err":
            pass
        with caplog.at_level(logging.WARNING, "onlooker"):
            assert put(tier, 1) is ERROR
        assert {getattr(record, "code", "") for record in caplog.records} == {"MISCONF"}
        told = tier.stats().error_replies
        assert put(tier, 1) is ERROR  # not even sent
        assert tier.stats().error_replies == told
        assert got(tier, 0) == "hit"
        client.config_set("stop-writes-on-bgsave-error", "no")
    clock.advance(BACKOFF_S)
    assert put(tier, 1) is STORED
    tier.close()


def test_a_server_that_reads_its_file_is_left_alone_until_it_has(
    lone_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    lone_redis.start()
    clock = ManualClock()
    tier = make_tier(lone_redis.url, clock)
    assert put(tier, 0) is STORED
    with lone_redis.client() as client:
        client.mset({f"other:{index}": os.urandom(4096) for index in range(100)})
        client.save()
        lone_redis.kill()
        with lone_redis.loading() as finish, caplog.at_level(logging.WARNING, "onlooker"):
            assert got(tier, 0) == "error"
            assert put(tier, 1) is ERROR
            assert {getattr(record, "code", "") for record in caplog.records} == {"LOADING"}
            finish()
    clock.advance(BACKOFF_S)
    assert got(tier, 0) == "hit"
    tier.close()


@pytest.mark.parametrize(
    ("reply", "is_read"),
    [
        (b"-MOVED 3999 127.0.0.1:1", True),
        (b"-ASK 3999 127.0.0.1:1", True),
        (b"-TRYAGAIN Multiple keys request during rehashing of slot", False),
        (b"-CLUSTERDOWN Hash slot not served", False),
    ],
    ids=["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"],
)
def test_a_server_of_a_cluster_is_told_of_and_not_asked_all_the_time(
    reply: bytes, is_read: bool, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    code = reply[1:].split()[0].decode()
    with resp_server(reply) as server:
        tier = make_tier(f"redis://127.0.0.1:{server.port}/0", clock)
        with caplog.at_level(logging.WARNING, "onlooker"):
            assert put(tier) is ERROR
        assert {getattr(record, "code", "") for record in caplog.records} == {code}
        assert all("single server" in getattr(record, "advice", "") for record in caplog.records)
        num_commands, num_connections = len(server.commands), server.num_connections
        assert put(tier) is ERROR
        assert len(server.commands) == num_commands  # not even sent
        assert got(tier) == "error" or is_read
        assert (len(server.commands) > num_commands) is is_read
        # Who is sent elsewhere makes connections anew, and so looks the name up again.
        assert (server.num_connections > num_connections) is is_read
        server.reply = b"+OK"
        clock.advance(MAX_BACKOFF_S)
        assert put(tier) is STORED
        tier.close()
