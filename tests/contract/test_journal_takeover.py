"""A server of a fleet dies, or is taken for dead: what it acknowledged is there at the next one."""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from onlooker.cache_store.leases import RedisLeases
from onlooker.core.clock import ManualClock
from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import StreamId
from onlooker.core.media import FrameOutcome
from onlooker.core.metrics import Metrics
from onlooker.engine.fake import ScriptedEngine, ScriptedStore
from onlooker.streams.hub import StreamHub
from onlooker.streams.ownership import Ownership
from onlooker.streams.stream import Stream, StreamOptions
from onlooker.streams.tenure import LeaseTerms
from tests.contract.redis_server import RedisServer
from tests.fakes.journals import open_in_redis
from tests.fakes.pictures import make_message
from tests.fakes.streams import SMALL, ask, running_hub
from tests.fakes.waiting import WAIT_S, until

pytestmark = pytest.mark.redis

DOOR = StreamId("door")
KEPT = StreamOptions(clock="virtual", persistent=True)
TERMS = LeaseTerms(60.0)
KEEP_ALL: dict[str, Any] = {"perception": {"gate_threshold": 0.0}}


@dataclass(slots=True)
class Member:
    hub: StreamHub
    ownership: Ownership
    metrics: Metrics


class Fleet:
    """Servers on one Redis, whose engines share a store. Time stands still unless it is moved."""

    def __init__(self, stack: AsyncExitStack, redis: RedisServer) -> None:
        self._stack, self._redis = stack, redis
        self.clock = ManualClock()
        self.store = ScriptedStore(is_writing=False, survives=Guarantee.REPLICATED)
        self.gone: set[str] = set()
        self.members: list[Member] = []

    async def start(self, name: str) -> Member:
        async def is_gone(url: str) -> bool:
            return url in self.gone

        metrics = Metrics()
        leases = RedisLeases(
            self._redis.url,
            namespace="onlooker:1",
            server=name,
            url=f"http://{name}",
            lease_s=TERMS.lease_s,
            fence_s=600.0,
            timeout_s=WAIT_S,
        )
        ownership = Ownership(
            leases, terms=TERMS, clock=self.clock, metrics=metrics, is_gone=is_gone
        )
        hub = await self._stack.enter_async_context(
            running_hub(
                engine=ScriptedEngine(clock=self.clock, info=SMALL, store=self.store),
                clock=self.clock,
                metrics=metrics,
                ownership=ownership,
                journal=open_in_redis(self._redis.url, clock=self.clock, redis={"timeout_s": 60.0}),
                **KEEP_ALL,
            )
        )
        self.members.append(Member(hub, ownership, metrics))
        return self.members[-1]

    def lose(self, name: str) -> None:
        """Its port is closed, and what only its RAM had is gone. It goes on all the same: whoever
        was taken for dead by mistake is worse than one that is dead."""
        self.gone.add(f"http://{name}")
        self.store.lose_waiting()


@pytest.fixture
async def fleet(redis_clean: RedisServer) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        fleet = Fleet(stack, redis_clean)
        yield fleet
        for member in fleet.members:  # all at once, since each hub looks for tasks that are left
            await member.hub.close(deadline_s=0.0)


async def let_go(member: Member) -> None:
    await until(lambda: not member.hub.streams())


async def feed(stream: Stream, *times_s: float) -> list[float]:
    """Push pictures; returns the times of those that were acknowledged as
    kept with a guarantee that survives the server."""
    kept = []
    for time_s in times_s:
        colour = (int(time_s) * 9 % 256, int(time_s) % 2 * 200, 90)  # the same for both of a clip
        ack = await stream.push_wait(make_message(time_s, colour=colour))
        if ack.outcome is FrameOutcome.KEPT and ack.guarantee is Guarantee.SERVER:
            kept.append(time_s)
    return kept


def halves(count: int) -> list[float]:
    """Times at which two frames make a clip."""
    return [half / 2 for half in range(count)]


async def test_what_a_lost_server_acknowledged_is_there_at_the_next(fleet: Fleet) -> None:
    a, b = await fleet.start("a"), await fleet.start("b")
    stream = await a.hub.open_stream(DOOR, KEPT)
    assert await feed(stream, *halves(9)) == halves(9)
    assert stream.status().guarantee is a.hub.guarantee is Guarantee.SERVER
    told = await ask(stream)
    await until(lambda: stream.status().clips == 4)
    fleet.store.write(0)  # of the four clips one was stored, and a ninth frame waits for a partner
    fleet.lose("a")
    again = await b.hub.open_stream(DOOR, KEPT)
    assert await ask(again) == told
    assert await feed(again, 4.5) == [4.5]  # joins the frame that waited
    assert await ask(again, "how many?") == "I have seen 5 clips up to 4.50 s."


async def test_a_server_that_was_taken_for_dead_adds_nothing_to_what_the_next_one_has(
    fleet: Fleet,
) -> None:
    a, b = await fleet.start("a"), await fleet.start("b")
    stream = await a.hub.open_stream(DOOR, KEPT)
    await feed(stream, *halves(4))
    fleet.lose("a")
    again = await b.hub.open_stream(DOOR, KEPT)
    assert await feed(stream, 2.0, 2.5) == [], "it is not promised what it cannot keep"
    assert await feed(again, 2.0, 2.5) == [2.0, 2.5]
    assert await ask(again, "how many?") == "I have seen 3 clips up to 2.50 s."
    value = a.metrics.registry.get_sample_value
    assert value("onlooker_journal_frames_total", {"guarantee": "none"}) == 2


async def test_streams_that_move_on_and_on_lose_nothing_that_was_acknowledged(
    fleet: Fleet,
) -> None:
    rng = random.Random(7)
    members = [await fleet.start(name) for name in "abc"]
    names = [StreamId(f"cam-{number}") for number in range(12)]
    acknowledged = dict.fromkeys(names, 0)
    for turn in range(4):
        owner = members[turn % 3]
        fleet.gone.discard(f"http://{'abc'[turn % 3]}")
        for name in names:
            stream = await owner.hub.open_stream(name, KEPT)
            begin = acknowledged[name]
            times = [(begin + step) / 2 for step in range(2 * rng.randint(0, 4))]
            acknowledged[name] += len(await feed(stream, *times))
            await ask(stream)
        if turn == 1:
            fleet.store.write()
        fleet.lose("abc"[turn % 3])
        for name in names:  # it has not heard of it yet, but has to before it may come back
            owner.ownership.on_lost(name, "taken over")
        await let_go(owner)
    last = await fleet.start("d")
    for name in names:
        stream = await last.hub.open_stream(name, KEPT)
        expected = acknowledged[name] // 2
        seen = (await ask(stream, "how many?")).split(" up to")[0]
        assert seen == f"I have seen {expected} clips"
    assert sum(acknowledged.values()) > 100


async def test_a_stream_that_is_closed_on_purpose_leaves_no_frames_for_others(fleet: Fleet) -> None:
    a, b = await fleet.start("a"), await fleet.start("b")
    await feed(await a.hub.open_stream(DOOR, KEPT), *halves(4))
    await a.hub.close_stream(DOOR, "no longer needed")
    again = await b.hub.open_stream(DOOR, KEPT)
    assert await ask(again, "how many?") == "I have seen 0 clips up to 0.00 s."
