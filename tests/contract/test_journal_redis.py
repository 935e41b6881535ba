"""What holds of the journal in Redis alone: owners, replicas, and a Redis that fails."""

import itertools
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from onlooker.cache_store.journal import DurableMark, FrameJournal, JournalUnreachable
from onlooker.cache_store.leases import Claim, RedisLeases
from onlooker.core.clock import ManualClock
from onlooker.core.guarantee import Guarantee
from tests.contract.redis_server import RedisServer, free_port
from tests.fakes.journals import STREAM, append, entry_of, mark, open_in_redis, replayed
from tests.fakes.waiting import WAIT_S

pytestmark = pytest.mark.redis

KEY = f"onlooker:1:journal:{STREAM}"


@contextmanager
def journal_in(
    url: str, clock: ManualClock | None = None, *, timeout_s: float = 0.5, **settings: Any
) -> Iterator[FrameJournal]:
    redis = {"timeout_s": timeout_s, "max_failures": 1, "min_backoff_s": 1.0, "max_backoff_s": 4.0}
    journal = open_in_redis(url, clock=clock, redis=redis, **settings)
    yield journal
    journal.close()


async def claim(server: RedisServer, name: str, *, instead_of: int = 0) -> Claim:
    leases = RedisLeases(
        server.url,
        namespace="onlooker:1",
        server=name,
        url="",
        lease_s=60.0,
        fence_s=600.0,
        timeout_s=WAIT_S,
    )
    try:
        found = await leases.acquire(STREAM, instead_of=instead_of)
        assert isinstance(found, Claim)
        return found
    finally:
        await leases.close()


def guarantees(journal: FrameJournal, *sequences: int, **fields: Any) -> list[Guarantee]:
    return [one.guarantee for one in journal.write([entry_of(n, **fields) for n in sequences])]


def best(journal: FrameJournal) -> Guarantee:
    return journal.guarantee


# ---- owners


async def test_a_former_owner_can_neither_write_nor_delete(redis_clean: RedisServer) -> None:
    old = await claim(redis_clean, "a")
    with journal_in(redis_clean.url) as a, journal_in(redis_clean.url) as b:
        positions = append(a, 0, 1, 2, epoch=old.epoch)
        new = await claim(redis_clean, "b", instead_of=old.epoch)
        assert replayed(b) == [0, 1, 2], "the next owner finds what was acknowledged"
        assert guarantees(a, 3, epoch=old.epoch) == [Guarantee.NONE]
        mark(a, positions[2], epoch=old.epoch)
        with pytest.raises(JournalUnreachable):
            a.forget(STREAM, 0.0, 9.0, epoch=old.epoch)
        a.delete(STREAM, epoch=old.epoch)
        assert replayed(b) == [0, 1, 2]
        assert (a.stats().fenced, a.stats().errors) == (1, 0)
        append(b, 4, epoch=new.epoch)
        mark(b, positions[1], epoch=new.epoch)
        assert replayed(b) == [2, 4]
        b.delete(STREAM, epoch=new.epoch)
        assert replayed(b) == []


async def test_one_stale_stream_of_a_batch_takes_no_other_with_it(redis_clean: RedisServer) -> None:
    old = await claim(redis_clean, "a")
    await claim(redis_clean, "b", instead_of=old.epoch)
    with journal_in(redis_clean.url) as journal:
        receipts = journal.write([entry_of(0, epoch=old.epoch), entry_of(0, "other")])
        assert [one.guarantee for one in receipts] == [Guarantee.NONE, Guarantee.SERVER]
        assert replayed(journal, "other") == [0]


def test_what_another_server_wrote_is_read_in_order(redis_clean: RedisServer) -> None:
    with journal_in(redis_clean.url) as a:
        append(a, *range(200))
    with journal_in(redis_clean.url) as b:
        assert b.newest_s(STREAM) == 99.5
        assert replayed(b) == list(range(200))
        append(b, 200)
        assert b.stats().num_streams == 1
        assert b.stats().num_bytes == 201 * 152


# ---- round trips and room


def test_all_changes_of_a_call_are_one_round_trip(redis_clean: RedisServer) -> None:
    with journal_in(redis_clean.url) as journal, redis_clean.client() as client:
        position = append(journal, 0)[0]
        client.config_resetstat()
        batch = [entry_of(n, f"cam-{n % 20}") for n in range(100)]
        journal.write([*batch, DurableMark(stream=STREAM, position=position)])
        sent = client.info("commandstats")
        assert sent["cmdstat_eval"]["calls"] == 21  # a script for each stream, all at once
        assert client.info("stats")["total_reads_processed"] <= 8  # of large messages, in pieces


def test_a_stream_that_nobody_opens_again_expires_at_last(redis_clean: RedisServer) -> None:
    with journal_in(redis_clean.url) as journal, redis_clean.client() as client:
        append(journal, 0)
        assert 0 < client.ttl(KEY) <= 7 * 86400
        journal.delete(STREAM)
        assert 0 < client.ttl(KEY) <= 10
    redis = {"ttl_s": None}
    journal = open_in_redis(redis_clean.url, redis=redis)
    append(journal, 1)
    with redis_clean.client() as client:
        assert client.ttl(KEY) == -1
    journal.close()


# ---- replicas


@pytest.fixture
def pair() -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary and its replica."""
    with tempfile.TemporaryDirectory(prefix="ol") as folder:
        primary, replica = RedisServer(Path(folder), "p"), RedisServer(Path(folder), "r")
        port = str(free_port())
        primary.start("--port", port, "--repl-diskless-sync-delay", "0")
        replica.start("--replicaof", "127.0.0.1", port)
        try:
            with replica.client() as client:
                ends_s = time.monotonic() + WAIT_S
                while client.info("replication")["master_link_status"] != "up":
                    assert time.monotonic() < ends_s, "the replica never found its primary"
            yield primary, replica
        finally:
            primary.kill()
            replica.kill()


def test_a_frame_that_a_replica_has_survives_the_primary_and_else_is_told_so(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    primary, replica = pair
    with journal_in(primary.url, wait_replicas=1, wait_s=30.0, timeout_s=60.0) as journal:
        assert journal.guarantee is Guarantee.REPLICATED
        assert guarantees(journal, 0, 1) == [Guarantee.REPLICATED] * 2
        with journal_in(replica.url) as other:
            assert replayed(other) == [0, 1]
    with journal_in(primary.url, wait_replicas=1, wait_s=0.05) as impatient:
        assert impatient.guarantee is Guarantee.REPLICATED
        replica.hang()
        assert guarantees(impatient, 2) == [Guarantee.SERVER]
        replica.go_on()


def test_nobody_waits_for_replicas_that_were_not_asked_for(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    primary, replica = pair
    replica.hang()
    with journal_in(primary.url) as journal:
        assert guarantees(journal, 0) == [Guarantee.SERVER]
    replica.go_on()


# ---- a Redis that fails


def test_a_redis_that_is_away_promises_nothing_and_is_believed_again_when_it_is_back(
    lone_redis: RedisServer,
) -> None:
    clock = ManualClock()
    lone_redis.start()
    with journal_in(lone_redis.url, clock) as journal:
        assert guarantees(journal, 0) == [Guarantee.SERVER]
        assert best(journal) is Guarantee.SERVER
        lone_redis.kill()
        assert guarantees(journal, 1) == [Guarantee.NONE]
        assert best(journal) is Guarantee.NONE
        with pytest.raises(JournalUnreachable, match="does not answer"):
            journal.replay(STREAM)
        with pytest.raises(JournalUnreachable):
            journal.newest_s(STREAM)
        lone_redis.start()  # empty
        clock.advance(10.0)
        assert guarantees(journal, 2) == [Guarantee.SERVER]
        assert best(journal) is Guarantee.SERVER
        assert replayed(journal) == [2]


def test_marks_of_before_a_redis_came_back_empty_take_nothing_of_after(
    lone_redis: RedisServer,
) -> None:
    clock = ManualClock()
    lone_redis.start()
    with journal_in(lone_redis.url, clock) as journal:
        old = append(journal, *range(50))
        lone_redis.kill()
        lone_redis.start()
        clock.advance(10.0)
        for sequence in itertools.count(50):
            if guarantees(journal, sequence) == [Guarantee.SERVER]:
                break
            clock.advance(10.0)
        mark(journal, old[-1])
        assert replayed(journal) == [sequence]


@pytest.mark.parametrize("trouble", ["full", "replica"])
def test_a_redis_that_takes_no_writes_promises_nothing_until_it_does(
    redis_clean: RedisServer, trouble: str
) -> None:
    clock = ManualClock()
    with journal_in(redis_clean.url, clock) as journal, redis_clean.client() as client:
        positions = append(journal, 0, 1)
        if trouble == "full":
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1)
        else:
            client.replicaof("127.0.0.1", free_port())
        try:
            assert guarantees(journal, 2) == [Guarantee.NONE]
            assert journal.guarantee is Guarantee.NONE
            assert guarantees(journal, 3) == [Guarantee.NONE]
            assert replayed(journal) == [0, 1]
            if trouble == "full":
                mark(journal, positions[0])  # gives room, and so is not held off
                assert replayed(journal) == [1]
        finally:
            client.config_set("maxmemory", 0)
            client.replicaof("NO", "ONE")
        clock.advance(10.0)
        assert guarantees(journal, 4) == [Guarantee.SERVER]
        assert replayed(journal)[-1] == 4


def test_a_stream_that_was_closed_while_redis_was_away_is_deleted_when_it_is_back(
    redis_clean: RedisServer,
) -> None:
    clock = ManualClock()
    with journal_in(redis_clean.url, clock) as journal:
        append(journal, 0)
        redis_clean.hang()
        try:
            journal.delete(STREAM)
            with pytest.raises(JournalUnreachable, match="still there"):
                journal.newest_s(STREAM)  # so nobody opens it before
        finally:
            redis_clean.go_on()
        clock.advance(10.0)
        assert journal.newest_s(STREAM) is None
        append(journal, 1)
        assert replayed(journal) == [1]


def test_what_is_no_frame_is_left_out_and_counted(redis_clean: RedisServer) -> None:
    with journal_in(redis_clean.url) as journal, redis_clean.client() as client:
        append(journal, 0)
        client.xadd(KEY, {"e": b"something else"})
        client.xadd(KEY, {"other": b"field"})
        append(journal, 1)
        assert replayed(journal) == [0, 1]
        assert journal.stats().damaged == 2
