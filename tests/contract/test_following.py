"""What belongs to a stream follows it from one server to the next: two hubs, one real Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from onlooker.cache_store.leases import RedisLeases
from onlooker.cache_store.redis_drawer import RedisDrawer
from onlooker.core.clock import ManualClock
from onlooker.core.drawer import DrawerAway, DrawerFailed, WriteRefused
from onlooker.core.errors import Overloaded, ServiceError
from onlooker.core.ids import StreamId, tenant_stream_id
from onlooker.core.metrics import Metrics
from onlooker.engine.fake import ScriptedStore
from onlooker.streams.fanout import Subscription
from onlooker.streams.hub import StreamHub
from onlooker.streams.masks import Mask
from onlooker.streams.ownership import Ownership
from onlooker.streams.state import StreamOptions
from onlooker.streams.stream import Stream
from onlooker.streams.tenure import LeaseTerms
from onlooker.watches.alert import Alert
from onlooker.watches.events import AlertRaised
from onlooker.watches.options import WatchOptions
from tests.contract.redis_server import RedisServer
from tests.fakes.streams import ask, driven, running_hub
from tests.fakes.waiting import until
from tests.unit.watches.test_keeper import RED, VIRTUAL, make_engine, show

pytestmark = pytest.mark.redis

DOOR = tenant_stream_id("acme", "door")
LEFT = Mask(((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))
NAMESPACE = "following"


def make_redis_drawer(redis: RedisServer, max_streams: int = 100) -> RedisDrawer:
    return RedisDrawer(redis.url, namespace=NAMESPACE, max_streams=max_streams, timeout_s=5.0)


class World:
    """What all servers share."""

    def __init__(self, redis: RedisServer) -> None:
        self.redis, self.store = redis, ScriptedStore()
        self.gone: set[str] = set()
        self.metrics: dict[str, Metrics] = {}

    @asynccontextmanager
    async def server(self, name: str, clock: ManualClock | None = None) -> AsyncIterator[StreamHub]:
        clock = clock or ManualClock()
        leases = RedisLeases(
            self.redis.url, namespace=NAMESPACE, server=name, url=name, lease_s=600.0,
            fence_s=6000.0, timeout_s=30.0,
        )  # fmt: skip

        async def is_gone(url: str) -> bool:
            return url in self.gone

        metrics = self.metrics[name] = Metrics()
        ownership = Ownership(
            leases, terms=LeaseTerms(600.0), clock=clock, metrics=metrics, is_gone=is_gone
        )
        engine = make_engine(clock=clock, store=self.store)
        async with running_hub(
            engine=engine, clock=clock, metrics=metrics, ownership=ownership,
            kept=make_redis_drawer(self.redis), perception={"gate_threshold": 0.0},
        ) as hub:  # fmt: skip
            yield hub

    def leases(self, name: str, event: str) -> float:
        counted = self.metrics[name].leases.labels(event)
        return counted._value.get()  # type: ignore[no-any-return]

    def writes(self, name: str, outcome: str) -> float:
        counted = self.metrics[name].belongings_writes.labels(outcome)
        return counted._value.get()  # type: ignore[no-any-return]


@pytest.fixture
def world(redis_clean: RedisServer) -> World:
    return World(redis_clean)


def told(subscription: Subscription) -> list[tuple[int, Alert]]:
    """The alerts that wait, with the numbers of their events."""
    found = []
    while (numbered := subscription.take()) is not None:
        if isinstance(numbered[1], AlertRaised):
            found.append((numbered[0], numbered[1].alert))
    return found


async def alerting(stream: Stream, colours: list[str], first: int = 0) -> None:
    await show(stream, colours, first)
    await ask(stream)
    with suppress(Overloaded):  # of a former owner
        await stream.keep_watches()  # alerts are told once they are kept


async def test_masks_and_retention_follow_when_the_owner_is_drained(world: World) -> None:
    async with world.server("a") as first:
        stream = await first.open_stream(DOOR, VIRTUAL)
        await stream.set_masks((LEFT,))
        await stream.set_keep_for(3600.0)
        await stream.forget(0.0, 0.0)
    async with world.server("b") as second:
        status = (await second.open_stream(DOOR, VIRTUAL)).status()
        assert (status.masks, status.keep_for_s) == ((LEFT,), 3600.0)


async def test_masks_given_at_the_opening_are_kept_before_the_stream_is_open(world: World) -> None:
    async with world.server("a") as first:
        stream = await first.open_stream(DOOR, StreamOptions(clock="virtual", masks=(LEFT,)))
        await ask(stream)
        world.gone.add("a")
        async with world.server("b") as second:
            assert (await second.open_stream(DOOR, VIRTUAL)).status().masks == (LEFT,)


async def test_masks_and_watches_outlive_a_redis_that_comes_back_empty(
    world: World, redis_clean: RedisServer
) -> None:
    clock = ManualClock()
    async with world.server("a", clock) as first:
        stream = await first.open_stream(DOOR, VIRTUAL)
        await stream.set_masks((LEFT,))
        stream.watches.create(RED, "w")
        await stream.keep_watches()
        redis_clean.client().flushall()
        await driven(clock, until(lambda: world.leases("a", "restored") == 1), step_s=10.0)
        await until(lambda: world.writes("a", "saved") >= 3)
        world.gone.add("a")
        async with world.server("b") as second:
            moved = await second.open_stream(DOOR, VIRTUAL)
            assert moved.status().masks == (LEFT,)
            assert [watch.watch_id for watch in moved.watches.watches()] == ["w"]


async def test_the_wall_clock_of_a_stream_follows(world: World) -> None:
    async with world.server("a") as first:
        await first.open_stream(DOOR, StreamOptions(zero_wall_s=1000.0))
    async with world.server("b") as second:
        stream = await second.open_stream(DOOR, StreamOptions(zero_wall_s=2000.0))
        assert stream.status().zero_wall_s == 1000.0


async def test_after_a_death_watches_alerts_and_numbers_go_on_without_a_gap_or_a_double(
    world: World,
) -> None:
    async with world.server("a") as first:
        stream = await first.open_stream(DOOR, VIRTUAL)
        stream.watches.create(RED, "w")
        seen = stream.subscribe(max_events=100)
        await alerting(stream, ["blue", "red", "blue", "red", "blue", "blue"])
        before = told(seen)
        assert [alert.number for _, alert in before] == [1, 2]
        world.gone.add("a")
        async with world.server("b") as second:
            moved = await second.open_stream(DOOR, VIRTUAL)
            assert [watch.watch_id for watch in moved.watches.watches()] == ["w"]
            everything = moved.subscribe(max_events=100, after=0)
            resumed = moved.subscribe(max_events=100, after=before[0][0])
            nothing_missed = moved.subscribe(max_events=100, after=stream.last_event)
            await alerting(moved, ["blue", "red", "blue", "blue"], first=10)
            after = told(nothing_missed)
            assert [alert.number for _, alert in after] == [3]
            assert told(resumed) == [before[1], *after]
            assert told(everything) == [*before, *after]


async def test_what_a_watch_told_already_is_not_told_again_by_the_next_owner(world: World) -> None:
    options = WatchOptions(condition=RED.condition, trigger=("yes_no",))
    async with world.server("a") as first:
        stream = await first.open_stream(DOOR, VIRTUAL)
        stream.watches.create(options, "w")
        await alerting(stream, ["blue", "red", "red", "red"])
        assert len(told(stream.subscribe(max_events=100, after=0))) >= 1
        (watch,) = stream.watches.watches()
    async with world.server("b") as second:
        moved = await second.open_stream(DOOR, VIRTUAL)
        (again,) = moved.watches.watches()
        assert again.trigger.is_on is watch.is_told
        assert again.alerts_s == watch.alerts_s


async def test_a_former_owner_s_writes_are_refused_counted_and_its_alerts_told_to_nobody(
    world: World,
) -> None:
    async with world.server("a") as first:
        stream = await first.open_stream(DOOR, VIRTUAL)
        stream.watches.create(RED, "w")
        await stream.keep_watches()
        seen = stream.subscribe(max_events=100)
        world.gone.add("a")
        async with world.server("b") as second:
            moved = await second.open_stream(DOOR, VIRTUAL)
            await moved.set_masks((LEFT,))
            with pytest.raises(Overloaded, match="another server"):
                await stream.set_masks(())
            await alerting(stream, ["blue", "red", "blue", "blue"])
            await until(lambda: world.writes("a", "refused") >= 2)
            assert told(seen) == []
            assert told(moved.subscribe(max_events=100, after=0)) == []
        async with world.server("c") as third:
            assert (await third.open_stream(DOOR, VIRTUAL)).status().masks == (LEFT,)


async def test_a_stream_that_is_deleted_is_deleted_for_all(world: World) -> None:
    async with world.server("a") as first:
        stream = await first.open_stream(DOOR, StreamOptions(clock="virtual", masks=(LEFT,)))
        stream.watches.create(RED, "w")
        await alerting(stream, ["blue", "red", "blue", "blue"])
        await first.close_stream(DOOR, "asked for")
    drawer = make_redis_drawer(world.redis)
    assert await drawer.read(DOOR) == {}
    assert await drawer.stream_ids() == []
    await drawer.close()
    async with world.server("b") as second:
        again = await second.open_stream(DOOR, VIRTUAL)
        assert again.status().masks == ()
        assert again.watches.watches() == []
        assert told(again.subscribe(max_events=100, after=0)) == []


async def test_a_stream_is_not_opened_while_its_masks_cannot_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> dict[str, bytes]:
        raise DrawerAway("connection refused")

    async with world.server("a") as hub:
        with monkeypatch.context() as broken:
            broken.setattr(RedisDrawer, "read", away)
            with pytest.raises(Overloaded, match="masks cannot be read"):
                await hub.open_stream(DOOR, VIRTUAL)
        assert hub.streams() == []
        await hub.open_stream(DOOR, VIRTUAL)


async def test_a_stream_whose_masks_are_not_understood_is_not_opened(world: World) -> None:
    with world.redis.client() as client:
        client.hset(f"{NAMESPACE}:kept:{DOOR}", "privacy", "{")
    async with world.server("a") as hub:
        with pytest.raises(ServiceError, match="'privacy'"):
            await hub.open_stream(DOOR, VIRTUAL)


async def _away(*_: object, **__: object) -> None:
    raise DrawerAway("connection refused")


async def test_while_redis_takes_nothing_a_change_is_in_force_but_not_said_to_be_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    async with world.server("a", clock) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        with monkeypatch.context() as broken:
            broken.setattr(RedisDrawer, "write", _away)
            with pytest.raises(Overloaded, match="cannot be kept now"):
                await driven(clock, stream.set_masks((LEFT,)))
            assert stream.status().masks == (LEFT,)
        await driven(clock, stream.keep_watches())  # what waited has been written with it
    async with world.server("b") as second:
        assert (await second.open_stream(DOOR, VIRTUAL)).status().masks == (LEFT,)


async def test_a_watch_that_cannot_be_kept_is_not_made_and_may_be_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    async with world.server("a", clock) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        with monkeypatch.context() as broken:
            broken.setattr(RedisDrawer, "write", _away)
            with pytest.raises(Overloaded, match="cannot be kept now"):
                await driven(clock, stream.make_watch(RED, "w"))
            assert stream.watches.ids() == []
            assert stream.account.standing().watches == 0
        await driven(clock, stream.make_watch(RED, "w"))
        assert stream.account.standing().watches == 1
    async with world.server("b") as second:
        assert (await second.open_stream(DOOR, VIRTUAL)).watches.ids() == ["w"]


# ---- the drawer


async def test_an_old_epoch_writes_and_deletes_nothing(redis_clean: RedisServer) -> None:
    drawer = make_redis_drawer(redis_clean)
    with redis_clean.client() as client:
        client.hset(f"{NAMESPACE}:fence:{DOOR}", "epoch", 7)
    await drawer.write(DOOR, {"privacy": b"1", "alerts/1": b"x"}, epoch=7)
    with pytest.raises(WriteRefused):
        await drawer.write(DOOR, {"privacy": b""}, epoch=6)
    with pytest.raises(WriteRefused):
        await drawer.clear(DOOR, epoch=6)
    await drawer.write(DOOR, {"alerts/1": b""}, epoch=8)
    assert await drawer.read(DOOR) == {"privacy": b"1"}
    await drawer.close()


async def test_one_stream_too_many_is_refused_and_none_makes_room(redis_clean: RedisServer) -> None:
    drawer = make_redis_drawer(redis_clean, max_streams=1)
    await drawer.write(DOOR, {"privacy": b"1"}, epoch=1)
    with pytest.raises(DrawerFailed, match="max_kept_streams"):
        await drawer.write(StreamId("other"), {"privacy": b"1"}, epoch=1)
    assert await drawer.read(DOOR) == {"privacy": b"1"}
    await drawer.close()


async def test_a_redis_that_is_not_there_is_away(lone_redis: RedisServer) -> None:
    drawer = make_redis_drawer(lone_redis)
    with pytest.raises(DrawerAway):
        await drawer.read(DOOR)
    with pytest.raises(DrawerAway):
        await drawer.stream_ids()
    await drawer.close()
