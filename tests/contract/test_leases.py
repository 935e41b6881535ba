"""Leases and fences, on a real Redis: who owns a stream, and whose writes count."""

import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from onlooker.cache_store.config import RedisSection
from onlooker.cache_store.errors import DeletionRefused
from onlooker.cache_store.fence import Fences
from onlooker.cache_store.leases import Claim, LeasesUnreachable, OwnedBy, RedisLeases, Renewal
from onlooker.cache_store.opening import open_redis
from onlooker.cache_store.tier import FetchOutcome, PutOutcome
from onlooker.cache_store.tiers.redis import RedisTier
from onlooker.core.clock import ManualClock
from tests.contract.redis_server import RedisServer
from tests.fakes.leases import BookLeases, LeaseBook
from tests.unit.cache_store.factories import STREAM, make_encoded, make_key

pytestmark = pytest.mark.redis

NAME = f"{STREAM.tenant}/{STREAM.stream}"
MakeLeases = Callable[..., RedisLeases]


@pytest.fixture
async def make_leases(redis_clean: RedisServer) -> AsyncIterator[MakeLeases]:
    made: list[RedisLeases] = []

    def make(server: str, *, lease_s: float = 60.0, timeout_s: float = 5.0) -> RedisLeases:
        leases = RedisLeases(
            redis_clean.url,
            namespace="onlooker:1",
            server=server,
            url=f"http://{server}",
            lease_s=lease_s,
            fence_s=3600.0,
            timeout_s=timeout_s,
        )
        made.append(leases)
        return leases

    yield make
    for leases in made:
        await leases.close()


async def claim(leases: RedisLeases, *, instead_of: int = 0) -> Claim:
    found = await leases.acquire(NAME, instead_of=instead_of)
    assert isinstance(found, Claim)
    return found


async def test_a_stream_has_one_owner_whom_others_are_told(make_leases: MakeLeases) -> None:
    mine = await claim(make_leases("a"))
    found = await make_leases("b").acquire(NAME)
    assert isinstance(found, OwnedBy)
    assert (found.server, found.url, found.epoch) == ("a", "http://a", mine.epoch)
    assert 50 < found.left_s <= 60


async def test_a_released_stream_is_taken_at_once_and_its_epoch_grows(
    make_leases: MakeLeases,
) -> None:
    a, b = make_leases("a"), make_leases("b")
    first = await claim(a)
    await a.release(NAME, first.epoch)
    second = await claim(b)
    assert not first.is_handed_over
    assert second.is_handed_over
    assert second.epoch > first.epoch


async def test_a_server_that_was_started_again_gets_its_own_back(make_leases: MakeLeases) -> None:
    first = await claim(make_leases("a"))
    again = await claim(make_leases("a"))
    assert again.epoch > first.epoch
    assert not again.is_handed_over
    assert await make_leases("a").renew([(NAME, first.epoch), (NAME, again.epoch)]) == [
        Renewal.LOST,
        Renewal.RENEWED,
    ]


async def test_an_owner_that_is_gone_need_not_be_waited_for(make_leases: MakeLeases) -> None:
    a, b = make_leases("a"), make_leases("b")
    gone = await claim(a)
    taken = await claim(b, instead_of=gone.epoch)
    assert taken.epoch > gone.epoch
    assert await a.renew([(NAME, gone.epoch)]) == [Renewal.LOST]
    late = await a.acquire(NAME, instead_of=gone.epoch)
    assert isinstance(late, OwnedBy), "only the lease that was looked at may be passed over"


async def test_a_late_release_lets_no_other_lease_go(make_leases: MakeLeases) -> None:
    a, b = make_leases("a"), make_leases("b")
    gone = await claim(a)
    await claim(b, instead_of=gone.epoch)
    await a.release(NAME, gone.epoch)
    assert isinstance(await a.acquire(NAME), OwnedBy)


async def test_a_lease_comes_back_where_redis_forgot_it_and_epochs_still_grow(
    make_leases: MakeLeases, redis_clean: RedisServer
) -> None:
    a, b = make_leases("a"), make_leases("b")
    before = await claim(a)
    redis_clean.client().flushall()
    assert await a.renew([(NAME, before.epoch)]) == [Renewal.RESTORED]
    assert isinstance(await b.acquire(NAME), OwnedBy)
    redis_clean.client().flushall()
    taken = await claim(b)
    assert taken.epoch > before.epoch
    assert await a.renew([(NAME, before.epoch)]) == [Renewal.LOST]


async def test_a_redis_that_hangs_is_told_within_the_limit(
    make_leases: MakeLeases, redis_clean: RedisServer
) -> None:
    leases = make_leases("a", timeout_s=0.2)
    await claim(leases)
    redis_clean.hang()
    try:
        with pytest.raises(LeasesUnreachable):
            await leases.acquire(NAME)
        with pytest.raises(LeasesUnreachable):
            await leases.renew([(NAME, 1)])
    finally:
        redis_clean.go_on()


# ---- what the epoch is for ----
class Writer:
    """A server's Redis tier, and the epochs it writes under."""

    def __init__(self, redis: RedisServer) -> None:
        self.fences = Fences()
        section = RedisSection.model_validate({"url": redis.url})
        self.tier: RedisTier = open_redis(section, clock=ManualClock(), fences=self.fences)


@pytest.fixture
async def writers(redis_clean: RedisServer) -> AsyncIterator[tuple[Writer, Writer]]:
    two = Writer(redis_clean), Writer(redis_clean)
    yield two
    for one in two:
        one.tier.close()


async def test_what_an_old_owner_still_writes_is_refused(
    make_leases: MakeLeases, writers: tuple[Writer, Writer]
) -> None:
    old, new = writers
    first = await claim(make_leases("a"))
    old.fences.own(NAME, first.epoch)
    assert old.tier.put_many([make_encoded(0), make_encoded(1)]) == [PutOutcome.STORED] * 2
    second = await claim(make_leases("b"), instead_of=first.epoch)
    new.fences.own(NAME, second.epoch)

    assert old.tier.put_many([make_encoded(1), make_encoded(2)]) == [PutOutcome.FENCED] * 2
    assert old.tier.stats().fenced == 2
    assert new.tier.put_many([make_encoded(2)]) == [PutOutcome.STORED]
    with pytest.raises(DeletionRefused):
        old.tier.delete_many([make_key(0), make_key(2)])
    kept = new.tier.get_many([make_key(index) for index in range(3)])
    assert [fetch.outcome for fetch in kept] == [FetchOutcome.HIT] * 3
    assert new.tier.keys(STREAM.prefix) == [make_key(index) for index in range(3)]


async def test_an_owner_deletes_what_the_one_before_wrote(
    make_leases: MakeLeases, writers: tuple[Writer, Writer]
) -> None:
    old, new = writers
    first = await claim(make_leases("a"))
    old.fences.own(NAME, first.epoch)
    old.tier.put_many([make_encoded(index) for index in range(5)])
    second = await claim(make_leases("b"), instead_of=first.epoch)
    new.fences.own(NAME, second.epoch)
    assert new.tier.delete_many(new.tier.keys(STREAM.prefix) or ())
    assert new.tier.keys(STREAM.prefix) == []
    assert new.tier.stats().deleted == 5


async def test_a_record_is_written_under_the_epoch_in_which_it_was_made(
    make_leases: MakeLeases, writers: tuple[Writer, Writer]
) -> None:
    """A server that lost a stream and has it again must not write what it queued before."""
    writer, _ = writers
    first = await claim(make_leases("a"))
    queued = replace(make_encoded(0), epoch=first.epoch)
    second = await claim(make_leases("b"), instead_of=first.epoch)
    third = await claim(make_leases("a"), instead_of=second.epoch)
    writer.fences.own(NAME, third.epoch)
    assert writer.tier.put_many([queued, make_encoded(1)]) == [
        PutOutcome.FENCED,
        PutOutcome.STORED,
    ]


def test_streams_without_an_owner_are_written_as_they_are(writers: tuple[Writer, Writer]) -> None:
    one, other = writers
    assert one.tier.put_many([make_encoded(0)]) == [PutOutcome.STORED]
    assert other.tier.put_many([make_encoded(0)]) == [PutOutcome.STORED]
    assert other.tier.delete_many([make_key(0)])
    assert one.tier.keys(STREAM.prefix) == []


# ---- the double that other tests use ----
async def test_the_double_of_redis_grants_renews_and_refuses_alike(
    make_leases: MakeLeases,
) -> None:
    """The same calls, at random, give the same answers; only the numbers differ."""
    rng = random.Random(7)
    book = LeaseBook(lambda: 1000.0)
    names = ("a", "b", "c")
    pairs = {name: (make_leases(name), BookLeases(book, name, lease_s=60.0)) for name in names}
    epochs: list[tuple[int, int]] = [(1, 1)]
    for _ in range(300):
        real, double = pairs[rng.choice(names)]
        real_epoch, double_epoch = rng.choice(epochs[-3:])
        call = rng.random()
        if call < 0.5:
            is_forced = rng.random() < 0.4
            found = await real.acquire(NAME, instead_of=real_epoch if is_forced else 0)
            other = await double.acquire(NAME, instead_of=double_epoch if is_forced else 0)
            assert type(found) is type(other)
            if isinstance(found, Claim) and isinstance(other, Claim):
                assert found.is_handed_over == other.is_handed_over
                assert found.was_open == other.was_open
                epochs.append((found.epoch, other.epoch))
            elif isinstance(found, OwnedBy) and isinstance(other, OwnedBy):
                assert found.server == other.server
        elif call < 0.8:
            renewed = await real.renew([(NAME, real_epoch)])
            assert renewed == await double.renew([(NAME, double_epoch)])
        else:
            is_left = rng.random() < 0.5
            await real.release(NAME, real_epoch, is_left=is_left)
            await double.release(NAME, double_epoch, is_left=is_left)
    assert len(epochs) > 50


async def test_a_stream_that_its_owner_left_is_told_as_left_until_it_is_closed(
    make_leases: MakeLeases,
) -> None:
    a, b = make_leases("a"), make_leases("b")
    assert await b.elsewhere(NAME) is None
    await a.release(NAME, (await claim(a)).epoch, is_left=True)
    found = await b.elsewhere(NAME)
    assert found is not None
    assert (found.is_left, found.server) == (True, "")
    taken = await claim(b)
    assert taken.was_open
    await b.release(NAME, taken.epoch)
    assert await a.elsewhere(NAME) is None
    assert not (await claim(a)).was_open


async def test_a_stream_whose_owner_was_silent_for_too_long_is_left(
    make_leases: MakeLeases,
) -> None:
    await claim(make_leases("a", lease_s=0.001))
    b = make_leases("b")
    while not (found := await b.elsewhere(NAME)) or found.server:
        pass
    assert found.is_left


async def test_ones_own_lease_from_before_a_restart_counts_as_left(
    make_leases: MakeLeases,
) -> None:
    await claim(make_leases("a"))
    found = await make_leases("a").elsewhere(NAME)
    assert found is not None
    assert found.is_left
    found = await make_leases("b").elsewhere(NAME)
    assert found is not None
    assert not found.is_left
