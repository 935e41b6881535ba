"""What tenants have and did, counted on a real Redis by several servers."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from onlooker.cache_store.tenant_counts import CountsUnreachable, RedisTenantCounts, UsageBatch
from tests.contract.redis_server import RedisServer, flush
from tests.fakes.waiting import limited

pytestmark = pytest.mark.redis

MakeCounts = Callable[..., RedisTenantCounts]
SOON_S = 0.05


@pytest.fixture
async def make_counts(redis_clean: RedisServer) -> AsyncIterator[MakeCounts]:
    async with AsyncExitStack() as stack:

        def make(
            server: str, *, lasts_s: float = 60.0, url: str = redis_clean.url
        ) -> RedisTenantCounts:
            counts = RedisTenantCounts(
                url, namespace="onlooker:1", server=server, lasts_s=lasts_s, timeout_s=5.0
            )
            stack.push_async_callback(counts.close)
            return counts

        yield make


async def test_a_limit_holds_over_servers(make_counts: MakeCounts) -> None:
    a, b = make_counts("a"), make_counts("b")
    assert await a.enter("acme", "streams", "one", 2)
    assert await b.enter("acme", "streams", "two", 2)
    assert not await a.enter("acme", "streams", "three", 2)
    assert await b.enter("other", "streams", "three", 2)
    assert await b.enter("acme", "watches", "three", 2)
    await b.leave("acme", "streams", ["two"])
    assert await a.enter("acme", "streams", "three", 2)


async def test_what_goes_on_at_another_server_is_not_counted_twice(make_counts: MakeCounts) -> None:
    a, b = make_counts("a"), make_counts("b")
    assert await a.enter("acme", "streams", "one", 1)
    assert await b.enter("acme", "streams", "one", 1)
    assert not await b.enter("acme", "streams", "two", 1)


async def test_what_a_dead_server_had_is_soon_not_counted(make_counts: MakeCounts) -> None:
    dead, other = make_counts("a", lasts_s=SOON_S), make_counts("b")
    assert await dead.enter("acme", "streams", "one", 1)
    async with limited("the dead server's stream to be forgotten"):
        while not await other.enter("acme", "streams", "two", 1):
            pass


async def test_what_is_said_again_stays_and_comes_back_to_an_empty_redis(
    make_counts: MakeCounts, redis_clean: RedisServer
) -> None:
    a, b = make_counts("a"), make_counts("b")
    flush(redis_clean)
    await a.hold({("acme", "streams"): [f"s{number}" for number in range(1200)]})
    assert not await b.enter("acme", "streams", "new", 1200)
    assert await b.enter("acme", "streams", "new", 1201)


async def test_a_minute_has_no_more_questions_than_it_may(make_counts: MakeCounts) -> None:
    a, b = make_counts("a"), make_counts("b")
    assert [await one.ask("acme", limit=3, span_s=60.0) for one in (a, b, a)] == [0, 0, 0]
    assert 0 < await b.ask("acme", limit=3, span_s=60.0) <= 60
    assert await b.ask("other", limit=3, span_s=60.0) == 0
    assert await b.ask("acme", limit=4, span_s=60.0) == 0


async def test_there_is_room_for_a_question_when_the_first_is_a_span_old(
    make_counts: MakeCounts,
) -> None:
    counts = make_counts("a")
    assert await counts.ask("acme", limit=1, span_s=SOON_S) == 0
    async with limited("room for a question"):
        while await counts.ask("acme", limit=1, span_s=SOON_S) > 0:
            pass


async def test_a_batch_that_is_tried_again_is_added_once(make_counts: MakeCounts) -> None:
    a, b = make_counts("a"), make_counts("b")
    batch = UsageBatch("batch_1", {"acme": {"questions": 2, "alerts": 1}, "lab": {"questions": 7}})
    for _ in range(2):
        await a.add(batch)
    await b.add(UsageBatch("batch_1", {"acme": {"questions": 3}}))
    await a.add(UsageBatch("batch_2", {"acme": {"questions": 5}}))
    assert await b.tenants() == ["acme", "lab"]
    acme, lab, none = await b.totals(["acme", "lab", "none"])
    assert (acme["questions"], acme["alerts"], lab["questions"]) == (10, 1, 7)
    assert acme["since"] > 1_600_000_000
    assert none == {}


async def test_a_redis_that_is_away_is_told(make_counts: MakeCounts) -> None:
    counts = make_counts("a", url="unix:///nowhere.sock")
    with pytest.raises(CountsUnreachable):
        await counts.enter("acme", "streams", "one", 1)
    with pytest.raises(CountsUnreachable):
        await counts.ask("acme", limit=1, span_s=60.0)
