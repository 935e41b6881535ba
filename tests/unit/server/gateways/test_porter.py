"""Who starts gateways, and starts again what dies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import Any

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import ConfigError, OnlookerError
from onlooker.server.config import ServerSection
from onlooker.server.gateways.messages import BecameReady, Progressed, StartFailed
from onlooker.server.gateways.porter import BACKOFF, Porter
from tests.fakes.child_process import ChildProcess
from tests.fakes.waiting import until

READY = BecameReady("demo", "colours")


class House:
    """A porter, and the gateways that the test plays."""

    def __init__(self, *, obeys: bool = True, **server: Any) -> None:
        self.clock = ManualClock()
        self.gateways: list[tuple[int, int, ChildProcess]] = []
        self.said: list[str] = []
        self.ready: list[BecameReady] = []
        self.is_port_taken = False
        self._obeys = obeys
        self.porter = Porter(
            ServerSection(gateways=2, **server),
            start=self._start,
            make_keeper=None,
            clock=self.clock,
            progress=self.said.append,
            on_ready=self.ready.append,
        )

    def _start(self, index: int, num_restarts: int) -> tuple[ChildProcess, Connection]:
        if self.is_port_taken:
            raise ConfigError("the port is taken")
        process = ChildProcess(obeys=self._obeys)
        self.gateways.append((index, num_restarts, process))
        return process.started

    def say(self, at: int, message: object) -> None:
        self.gateways[at][2].theirs.send(message)

    async def pass_backoff(self, num_failures: int) -> None:
        await until(lambda: bool(self.clock._sleepers))
        self.clock.advance(BACKOFF.wait_s(num_failures))


Running = asyncio.Task[OnlookerError | None]


@asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[tuple[House, Running]]:
    house = House(**options)
    running = asyncio.create_task(house.porter.run())
    await until(lambda: len(house.gateways) == 2)
    try:
        yield house, running
    finally:
        if not running.done():
            house.porter.stop()
            await running


async def test_it_is_ready_when_all_gateways_are() -> None:
    async with opened() as (house, _):
        house.say(0, Progressed("loading"))
        house.say(1, Progressed("loading, too"))
        house.say(0, READY)
        await until(lambda: house.said == ["loading"])
        assert house.ready == []
        house.say(1, READY)
        await until(lambda: house.ready == [READY])


async def test_a_gateway_that_dies_is_started_again_after_a_while() -> None:
    async with opened() as (house, _):
        house.say(0, READY)
        house.gateways[0][2].end(-11)
        await house.pass_backoff(1)
        await until(lambda: len(house.gateways) == 3)
        index, num_restarts, process = house.gateways[2]
        assert (index, num_restarts) == (0, 1)
        process.end(-11)
        await house.pass_backoff(2)  # twice as long
        await until(lambda: len(house.gateways) == 4)


async def test_a_gateway_that_was_ready_and_cannot_start_again_is_tried_again() -> None:
    async with opened() as (house, running):
        house.say(0, READY)
        await asyncio.sleep(0)
        house.gateways[0][2].end(-11)
        house.is_port_taken = True
        await house.pass_backoff(1)
        await until(lambda: bool(house.clock._sleepers))
        house.is_port_taken = False
        house.clock.advance(BACKOFF.wait_s(2))
        await until(lambda: len(house.gateways) == 3)
        house.say(2, StartFailed("Redis is away", is_config=True))
        house.gateways[2][2].end(0)
        await house.pass_backoff(3)
        await until(lambda: len(house.gateways) == 4)
        assert not running.done()


@pytest.mark.parametrize(("is_config", "kind"), [(True, ConfigError), (False, OnlookerError)])
async def test_a_first_start_that_fails_ends_all_and_says_why(
    is_config: bool, kind: type[OnlookerError]
) -> None:
    async with opened() as (house, running):
        house.say(1, StartFailed("no such model", is_config=is_config))
        house.gateways[1][2].end(0)
        failure = await running
        assert type(failure) is kind
        assert failure.message == "no such model"
        assert house.gateways[0][2].exitcode == 0


async def test_it_stops_all_and_starts_none_again() -> None:
    async with opened() as (house, running):
        house.porter.stop()
        assert await running is None
        assert [process.signals for _, _, process in house.gateways] == [["terminate"]] * 2


async def test_a_second_signal_reaches_those_that_still_end() -> None:
    async with opened(obeys=False) as (house, running):
        house.porter.stop()
        house.porter.stop()
        assert [process.signals for _, _, process in house.gateways] == [["terminate"] * 2] * 2
        for _, _, process in house.gateways:
            process.end(0)
        assert await running is None


async def test_gateways_that_do_not_end_in_time_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onlooker.server.gateways.porter.SPARE_S", 0.0)
    async with opened(obeys=False, drain_s=0.0, close_s=0.01) as (house, running):
        house.porter.stop()
        assert await running is None
        assert [process.signals[-1] for _, _, process in house.gateways] == ["kill"] * 2
