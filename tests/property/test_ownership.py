"""Servers that crash, pause, are cut off, and whose clocks drift: a search for two owners of one
stream that both believe it, and for a write that ought to have been refused."""

import random
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import Overloaded, OwnedElsewhere
from onlooker.core.ids import tenant_stream_id
from onlooker.core.metrics import Metrics
from onlooker.streams.ownership import Ownership
from onlooker.streams.tenure import LeaseTerms
from tests.fakes.leases import BookLeases, LeaseBook

T = TypeVar("T")

TERMS = LeaseTerms(10.0)
STREAM = tenant_stream_id("acme", "door")
NAME = "acme/door"
METRICS = Metrics()
NUM_RUNS = 10_000
NUM_SERVERS = 3
NUM_STEPS = 40


def done(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waits")


@dataclass(slots=True)
class Late:
    """A write that is under way."""

    epoch: int
    sent_s: float


@dataclass(slots=True)
class Simulated:
    """A server: what it believes, and the writes that it has sent."""

    name: str
    rate: float
    clock: ManualClock
    leases: BookLeases
    ownership: Ownership
    is_up: bool = True
    is_paused: bool = False
    renew_at_s: float = 0.0
    sent: list[Late] = field(default_factory=list)

    def holds(self) -> bool:
        return self.is_up and not self.is_paused and self.ownership.holds(STREAM)


class Fleet:
    """Several servers, one book of leases, and true time."""

    def __init__(self, seed: int, *, loses: bool) -> None:
        self.random = random.Random(seed)
        self.loses = loses
        self.now_s = 1000.0
        self.book = LeaseBook(lambda: self.now_s)
        self.servers = [self._server(str(number)) for number in range(NUM_SERVERS)]
        self.accepted: list[int] = []

    def _server(self, name: str) -> Simulated:
        clock = ManualClock()
        leases = BookLeases(self.book, name, lease_s=TERMS.lease_s)
        return Simulated(
            name,
            rate=1 + self.random.uniform(-TERMS.drift, TERMS.drift),
            clock=clock,
            leases=leases,
            ownership=self._ownership(leases, clock),
        )

    def _ownership(self, leases: BookLeases, clock: ManualClock) -> Ownership:
        async def is_gone(name: str) -> bool:
            return not self.servers[int(name)].is_up

        return Ownership(leases, terms=TERMS, clock=clock, metrics=METRICS, is_gone=is_gone)

    def step(self) -> None:
        """One thing happens, to one of the servers or to all."""
        server = self.random.choice(self.servers)
        chance = self.random.random()
        if chance < 0.35:
            self._pass(self.random.choice((0.1, 1.0, 2.0, 5.0, 12.0)))
        elif chance < 0.60:
            self._open(server)
        elif chance < 0.75:
            self._write(server)
        elif chance < 0.80:
            server.is_paused = not server.is_paused
        elif chance < 0.88:
            server.leases.is_cut_off = not server.leases.is_cut_off
        elif chance < 0.93:
            self._crash_or_start(server)
        elif chance < 0.97:
            if server.is_up and not server.is_paused:
                done(server.ownership.release(STREAM))
        elif self.loses:
            self.book.lose_all()
        self._arrive()

    def _pass(self, seconds: float) -> None:
        self.now_s += seconds
        for server in self.servers:
            server.clock.advance(seconds * server.rate)
            if server.is_up and not server.is_paused and server.renew_at_s <= server.clock.now_s():
                done(server.ownership.renew())
                server.renew_at_s = server.clock.now_s() + TERMS.renew_s

    def _open(self, server: Simulated) -> None:
        if server.is_up and not server.is_paused and server.ownership.claim_of(STREAM) is None:
            with suppress(OwnedElsewhere, Overloaded):
                done(server.ownership.claim(STREAM))

    def _write(self, server: Simulated) -> None:
        """Send a write, which arrives at once or much later."""
        claim = server.ownership.claim_of(STREAM)
        if server.holds() and claim is not None:
            server.sent.append(Late(claim.epoch, self.now_s))

    def _arrive(self) -> None:
        for server in self.servers:
            for late in list(server.sent):
                if self.random.random() < 0.4:
                    server.sent.remove(late)
                    if self.book.lets_write(NAME, late.epoch):
                        self.accepted.append(late.epoch)

    def _crash_or_start(self, server: Simulated) -> None:
        if server.is_up:
            server.is_up = False
        else:
            server.is_up, server.is_paused = True, False
            server.ownership = self._ownership(server.leases, server.clock)

    @property
    def believers(self) -> list[str]:
        return [server.name for server in self.servers if server.holds()]


@pytest.mark.parametrize("loses", [False, True], ids=["redis keeps", "redis loses all at times"])
def test_no_two_servers_own_a_stream_and_no_old_write_is_taken(loses: bool) -> None:
    num_owned = num_accepted = 0
    for seed in range(NUM_RUNS // 2):
        fleet = Fleet(seed, loses=loses)
        for _ in range(NUM_STEPS):
            fleet.step()
            believers = fleet.believers
            num_owned += len(believers)
            # A Redis that has lost the leases lets another begin; the writes show who counts.
            assert loses or len(believers) <= 1, f"seed {seed}: {believers} all own the stream"
        newest = [max(fleet.accepted[: i + 1]) for i in range(len(fleet.accepted))]
        num_accepted += len(newest)
        if not loses:
            assert fleet.accepted == newest, f"seed {seed}: an old owner's write was taken"
    assert num_owned > 10 * NUM_RUNS, "the search must meet owners to say anything"
    assert num_accepted > NUM_RUNS // 4
