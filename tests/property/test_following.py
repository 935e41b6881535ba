"""Servers that crash, pause, are cut off from Redis or slow to reach it, and whose clocks drift: a
search for alerts that are lost, doubled or out of order, and for streams opened without their
masks.

`NUM_RUNS` seeds run with the tests; ONLOOKER_TEST_FOLLOWING_RUNS runs more.
"""

import asyncio
import os
import random
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.drawer import Documents, DrawerAway, WriteRefused
from onlooker.core.errors import OnlookerError
from onlooker.core.ids import StreamId, tenant_stream_id
from onlooker.core.metrics import Metrics
from onlooker.streams import alert_ledger as ledgers
from onlooker.streams.alert_ledger import AlertLedger
from onlooker.streams.belongings import PRIVACY, Belongings, find_belongings
from onlooker.streams.events import PrivacyChanged, StreamEnded
from onlooker.streams.fanout import EventLog, Subscription
from onlooker.streams.ownership import Ownership
from onlooker.streams.tenure import LeaseTerms
from onlooker.watches.alert import Alert
from onlooker.watches.events import AlertRaised
from tests.fakes.leases import BookLeases, LeaseBook

TERMS = LeaseTerms(10.0)
STREAM = tenant_stream_id("acme", "door")
NAME = "acme/door"
METRICS = Metrics()
NUM_RUNS = int(os.environ.get("ONLOOKER_TEST_FOLLOWING_RUNS", "200"))
NUM_SERVERS = 3
NUM_STEPS = 60
MAX_ALERTS = 1000


@dataclass(slots=True)
class _Flight:
    """A write on its way to Redis, and its answer on the way back."""

    documents: Documents
    epoch: int
    answer: "asyncio.Future[None]"


@dataclass(slots=True)
class Shelf:
    """What Redis has, and the writes that are under way."""

    book: LeaseBook
    random: random.Random
    fenced: bool
    kept: dict[str, bytes] = field(default_factory=dict)
    flights: list[_Flight] = field(default_factory=list)

    def arrive(self, chance: float) -> None:
        """Some of the writes arrive, each of them in whatever order; some answers are lost."""
        for flight in [one for one in self.flights if self.random.random() < chance]:
            self.flights.remove(flight)
            error: Exception | None = None
            if self.fenced and not self.book.lets_write(NAME, flight.epoch):
                error = WriteRefused("old")
            else:
                for name, content in flight.documents.items():
                    self.kept[name] = content
                    if not content:
                        del self.kept[name]
                if self.random.random() < 0.1:
                    error = DrawerAway("the answer was lost")
            if flight.answer.done():  # nobody waits any more
                continue
            if error is None:
                flight.answer.set_result(None)
            else:
                flight.answer.set_exception(error)


class ShelfDrawer:
    """See `onlooker.core.drawer.StreamDrawer`: one server's way to the shelf."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.is_cut_off = False

    async def read(self, stream_id: StreamId) -> dict[str, bytes]:
        if self.is_cut_off:
            raise DrawerAway("cut off")
        return dict(self._shelf.kept)

    async def write(self, stream_id: StreamId, documents: Documents, *, epoch: int) -> None:
        if self.is_cut_off:
            raise DrawerAway("cut off")
        flight = _Flight(dict(documents), epoch, asyncio.get_running_loop().create_future())
        self._shelf.flights.append(flight)
        await flight.answer

    async def exchange(
        self, stream_id: StreamId, name: str, *, before: bytes, after: bytes
    ) -> bool:
        raise AssertionError("nobody else writes here")

    async def clear(self, stream_id: StreamId, *, epoch: int) -> None:
        raise AssertionError("nothing is deleted here")

    async def stream_ids(self) -> list[StreamId]:
        return [STREAM]

    async def close(self) -> None:
        pass


@dataclass(slots=True)
class Open:
    """The stream as one server has it open."""

    belongings: Belongings
    ledger: AlertLedger
    events: EventLog
    mask: int
    num_alerts: int


class Server:
    """What of a server matters here: its leases, and the belongings of one stream."""

    def __init__(self, fleet: "Fleet", name: str) -> None:
        self.fleet, self.name = fleet, name
        self.rate = 1 + fleet.random.uniform(-TERMS.drift, TERMS.drift)
        self.clock = ManualClock()
        self.leases = BookLeases(fleet.book, name, lease_s=TERMS.lease_s)
        self.drawer = ShelfDrawer(fleet.shelf)
        self.is_up, self.is_paused, self.renew_at_s = True, False, 0.0
        self.open: Open | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.ownership = self._ownership()

    def _ownership(self) -> Ownership:
        async def is_gone(name: str) -> bool:
            return not self.fleet.servers[int(name)].is_up

        ownership = Ownership(
            self.leases, terms=TERMS, clock=self.clock, metrics=METRICS, is_gone=is_gone
        )
        ownership.on_lost = lambda stream_id, why: self.spawn_close()
        return ownership

    @property
    def is_running(self) -> bool:
        return self.is_up and not self.is_paused

    def spawn(self, work) -> None:  # type: ignore[no-untyped-def]  # a coroutine of nothing
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def spawn_close(self) -> None:
        self.spawn(self.shut())

    async def begin(self) -> None:
        """Open the stream, as the hub does."""
        if self.open is not None or self.ownership.claim_of(STREAM) is not None:
            return
        found: Belongings | None = None
        try:
            await self.ownership.claim(STREAM)
            claim = self.ownership.claim_of(STREAM)
            assert claim is not None
            acked = self.fleet.acked_mask
            found = await find_belongings(
                STREAM, self.drawer, epoch=claim.epoch, clock=self.clock, metrics=METRICS
            )
            ledger = AlertLedger(found, max_alerts=MAX_ALERTS)
            mask = int(found.documents.get(PRIVACY, b"0"))
            await ledger.begin()
            assert mask >= acked, f"opened with mask {mask}; {acked} was acknowledged"
        except OnlookerError:
            if found is not None:
                await found.cut()
            await self.ownership.release(STREAM)
            return
        events = EventLog(
            num_retained=100, num_alerts_retained=MAX_ALERTS, metrics=METRICS, ledger=ledger
        )
        self.open = Open(found, ledger, events, mask, ledger.last_alert)

    async def shut(self, *, drains: bool = False) -> None:
        """Close the stream, as the hub does."""
        opened, self.open = self.open, None
        if opened is None:
            return
        if drains and self.ownership.holds(STREAM):
            await opened.belongings.flush()
            opened.events.publish(StreamEnded("drained"))
            opened.ledger.end()
            await opened.belongings.close()
        else:
            await opened.belongings.cut()
            opened.events.publish(StreamEnded("cut"))
        await self.ownership.release(STREAM)

    async def mask_more(self) -> None:
        opened = self.open
        if opened is None:
            return
        self.fleet.newest_mask += 1
        mask = opened.mask = self.fleet.newest_mask
        opened.belongings.keep(PRIVACY, str(mask).encode())
        with suppress(OnlookerError):
            await opened.belongings.settle("the masks")
            self.fleet.acked_mask = max(self.fleet.acked_mask, mask)

    def alert(self) -> None:
        opened = self.open
        assert opened is not None
        opened.num_alerts += 1
        self.fleet.num_raised += 1
        alert = Alert(
            f"alert-{self.fleet.num_raised}", opened.num_alerts, "w", "alert", 0.0, 0.0, 0.0, 0.0,
            0.0, "",
        )  # fmt: skip
        opened.events.publish_alert(
            AlertRaised(alert),
            then=lambda: self.fleet.told.append(alert.alert_id),
        )

    async def crash(self) -> None:
        opened, self.open = self.open, None
        self.is_up = False
        for task in list(self.tasks):
            task.cancel()
        if opened is not None:
            await opened.belongings.cut()  # what is on its way may still arrive

    def start(self) -> None:
        self.is_up, self.is_paused = True, False
        self.ownership = self._ownership()


class Fleet:
    """Several servers, one Redis, true time, and a subscriber that resumes wherever it can."""

    def __init__(self, seed: int, *, fenced: bool = True) -> None:
        self.random = random.Random(seed)
        self.now_s = 1000.0
        self.book = LeaseBook(lambda: self.now_s)
        self.shelf = Shelf(self.book, self.random, fenced)
        self.servers: list[Server] = []
        self.servers = [Server(self, str(number)) for number in range(NUM_SERVERS)]
        self.newest_mask = self.acked_mask = self.num_raised = 0
        self.told: list[str] = []
        self.seen: list[Alert] = []
        self.last_number = 0
        self.subscription: Subscription | None = None

    async def step(self) -> None:
        server = self.random.choice(self.servers)
        chance = self.random.random()
        if chance < 0.25:
            await self._pass(self.random.choice((0.1, 1.0, 2.0, 5.0, 12.0)))
        elif chance < 0.45:
            if server.is_running:
                server.spawn(server.begin())
        elif chance < 0.70:
            for one in self.servers:
                if one.is_running and one.open is not None:
                    one.alert() if self.random.random() < 0.6 else one.open.events.publish(
                        PrivacyChanged()
                    )
        elif chance < 0.78:
            if server.is_running:
                server.spawn(server.mask_more())
        elif chance < 0.82:
            server.is_paused = not server.is_paused
        elif chance < 0.89:
            server.leases.is_cut_off = server.drawer.is_cut_off = not server.leases.is_cut_off
        elif chance < 0.94:
            if server.is_up:
                await server.crash()
            else:
                server.start()
        elif server.is_running:
            server.spawn(server.shut(drains=True))
        await self.settle()
        self.shelf.arrive(0.5)
        await self.settle()
        self.read()

    async def settle(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)

    async def _pass(self, seconds: float) -> None:
        self.now_s += seconds
        for server in self.servers:
            server.clock.advance(seconds * server.rate)
            if server.is_running and server.renew_at_s <= server.clock.now_s():
                await server.ownership.renew()
                server.renew_at_s = server.clock.now_s() + TERMS.renew_s

    def read(self) -> None:
        """Let the subscriber take what came, and now and then come back at another server."""
        if self.subscription is not None:
            while (numbered := self.subscription.take()) is not None:
                number, event = numbered
                is_after = number > self.last_number or isinstance(event, StreamEnded)
                assert is_after, f"event {number} after {self.last_number}"
                self.last_number = number
                if isinstance(event, AlertRaised):
                    self.seen.append(event.alert)
        if self.subscription is None or self.random.random() < 0.3:
            doors = [one.open for one in self.servers if one.is_running and one.open is not None]
            if self.subscription is not None:
                self.subscription.close()
                self.subscription = None
            if doors:
                events = self.random.choice(doors).events
                if self.last_number <= events.last_number:  # else it is an owner of before
                    self.subscription = events.subscribe(max_events=1000, after=self.last_number)

    async def heal(self) -> None:
        """All go on, one opens the stream, and the subscriber comes back for the last time."""
        for server in self.servers:
            server.leases.is_cut_off = server.drawer.is_cut_off = False
            if not server.is_up:
                server.start()
            server.is_paused = False
        last = self.servers[0]
        for _ in range(60):
            await self._pass(5.0)
            await self.settle()
            self.shelf.arrive(1.0)
            await self.settle()
            if last.open is not None and last.ownership.holds(STREAM):
                break
            for server in self.servers[1:]:
                await server.shut()
            last.spawn(last.begin())
        assert last.open is not None, "nobody could open the stream"
        if self.subscription is not None:
            self.read()
            if self.subscription is not None:
                self.subscription.close()
        self.subscription = last.open.events.subscribe(max_events=1000, after=self.last_number)
        while (numbered := self.subscription.take()) is not None:
            if isinstance(numbered[1], AlertRaised):
                self.seen.append(numbered[1].alert)

    async def close(self) -> None:
        for server in self.servers:
            await server.crash()
            await asyncio.gather(*server.tasks, return_exceptions=True)


async def search(seed: int, *, fenced: bool = True) -> Fleet:
    """One run; raises AssertionError where something is wrong."""
    fleet = Fleet(seed, fenced=fenced)
    try:
        for _ in range(NUM_STEPS):
            await fleet.step()
        await fleet.heal()
        ids = [alert.alert_id for alert in fleet.seen]
        assert len(set(ids)) == len(ids), f"seed {seed}: doubled"
        assert set(fleet.told) <= set(ids), f"seed {seed}: lost {set(fleet.told) - set(ids)}"
        numbers = [alert.number for alert in fleet.seen]
        assert numbers == [*range(1, len(ids) + 1)], f"seed {seed}: {numbers}"
    finally:
        await fleet.close()
    return fleet


@pytest.fixture(autouse=True)
def few_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """More numbers than a run uses before a write must have arrived, and fewer than it uses."""
    monkeypatch.setattr(ledgers, "SET_ASIDE", 60)


async def test_no_alert_is_lost_or_doubled_and_no_stream_opened_without_its_masks() -> None:
    num_seen = num_acked = 0
    for seed in range(NUM_RUNS):
        fleet = await search(seed)
        num_seen += len(fleet.seen)
        num_acked += fleet.acked_mask
    assert num_seen > NUM_RUNS, "the search must meet alerts to say anything"
    assert num_acked > NUM_RUNS // 4


async def test_the_search_finds_what_goes_wrong_without_the_fence() -> None:
    for seed in range(200):
        try:
            await search(seed, fenced=False)
        except AssertionError:
            return
    pytest.fail("no seed finds it")
