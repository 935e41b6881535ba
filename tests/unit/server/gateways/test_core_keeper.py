"""Who starts the engine core of several gateways, and what they hear of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection

import pytest

from onlooker.core.errors import ConfigError
from onlooker.engine.shared_core import CORE_IS_UP, CoreSeat
from onlooker.server.gateways.core_keeper import SPARE_SEATS, CoreKeeper
from tests.fakes.child_process import ChildProcess
from tests.fakes.waiting import until

NUM_GATEWAYS = 2


class Cores:
    """Starts cores that the test plays, each with the seats that it was given."""

    def __init__(self) -> None:
        self.processes: list[ChildProcess] = []
        self.seats: list[Sequence[CoreSeat]] = []
        self.deaths: list[int] = []

    def start(self, seats: Sequence[CoreSeat]) -> tuple[ChildProcess, Connection]:
        self.processes.append(ChildProcess())
        self.seats.append(seats)
        return self.processes[-1].started

    @property
    def newest(self) -> ChildProcess:
        return self.processes[-1]

    def say(self, text: str) -> None:
        self.newest.theirs.send(text)

    async def end_when_told(self) -> None:
        """Play a process that ends since nobody is at the other end of its pipe."""
        process = self.newest
        await until(lambda: process.theirs.poll())
        process.end(0)


@asynccontextmanager
async def kept() -> AsyncIterator[tuple[CoreKeeper, Cores]]:
    cores = Cores()
    keeper = CoreKeeper(cores.start, num_gateways=NUM_GATEWAYS, on_death=cores.deaths.append)
    try:
        yield keeper, cores
    finally:
        if cores.processes and cores.newest.exitcode is None:
            await asyncio.gather(keeper.close(), cores.end_when_told())
        else:
            await keeper.close()


async def test_all_gateways_sit_at_one_core_when_it_is_up() -> None:
    async with kept() as (keeper, cores):
        seats = asyncio.gather(keeper.seat(), keeper.seat())
        await until(lambda: len(cores.processes) == 1)
        assert not seats.done()
        cores.say(CORE_IS_UP)
        one, other = await seats
        assert (one.life, other.life) == (1, 1)
        assert one.index != other.index
        assert one.input_address != other.input_address
        assert one.count == len(cores.seats[0]) == NUM_GATEWAYS + SPARE_SEATS
        assert len(cores.processes) == 1


async def test_why_a_core_does_not_start_is_told() -> None:
    async with kept() as (keeper, cores):
        seat = asyncio.ensure_future(keeper.seat())
        await until(lambda: len(cores.processes) == 1)
        cores.say("no such model")
        cores.newest.end(0)
        with pytest.raises(ConfigError, match="no such model"):
            await seat


async def test_a_core_that_ends_without_a_word_before_it_is_up_is_told_of() -> None:
    async with kept() as (keeper, cores):
        seat = asyncio.ensure_future(keeper.seat())
        await until(lambda: len(cores.processes) == 1)
        cores.newest.end(-9)
        with pytest.raises(ConfigError, match="status -9"):
            await seat


async def test_a_core_that_died_is_told_of_and_another_started_for_who_asks() -> None:
    async with kept() as (keeper, cores):
        keeper.begin()
        cores.say(CORE_IS_UP)
        await keeper.seat()
        cores.newest.end(-9)
        await until(lambda: cores.deaths == [1])
        assert len(cores.processes) == 1  # nobody has asked yet
        seats = asyncio.gather(keeper.seat(dead_life=1), keeper.seat(dead_life=1))
        await until(lambda: len(cores.processes) == 2)
        cores.say(CORE_IS_UP)
        assert [seat.life for seat in await seats] == [2, 2]


async def test_a_core_that_was_seen_to_die_is_not_waited_for_as_if_it_lived() -> None:
    async with kept() as (keeper, cores):
        keeper.begin()
        cores.say(CORE_IS_UP)
        await keeper.seat()
        seat = asyncio.ensure_future(keeper.seat(dead_life=1))
        await cores.end_when_told()
        await until(lambda: len(cores.processes) == 2)
        cores.say(CORE_IS_UP)
        assert (await seat).life == 2


async def test_a_core_that_is_ending_gives_no_seat_to_who_knows_nothing_of_it() -> None:
    async with kept() as (keeper, cores):
        keeper.begin()
        cores.say(CORE_IS_UP)
        await keeper.seat()
        knows = asyncio.ensure_future(keeper.seat(dead_life=1))
        await until(cores.newest.theirs.poll)
        new_here = asyncio.ensure_future(keeper.seat())
        await cores.end_when_told()
        await until(lambda: len(cores.processes) == 2)
        cores.say(CORE_IS_UP)
        assert [(await one).life for one in (knows, new_here)] == [2, 2]


async def test_a_gateway_that_comes_back_gets_a_seat_that_nobody_had() -> None:
    async with kept() as (keeper, cores):
        keeper.begin()
        cores.say(CORE_IS_UP)
        seats = [await keeper.seat() for _ in range(NUM_GATEWAYS + SPARE_SEATS)]
        assert len({seat.index for seat in seats}) == len(seats)
        assert len(cores.processes) == 1


async def test_a_core_without_a_free_seat_is_started_again() -> None:
    async with kept() as (keeper, cores):
        keeper.begin()
        cores.say(CORE_IS_UP)
        for _ in range(NUM_GATEWAYS + SPARE_SEATS):
            await keeper.seat()
        seat = asyncio.ensure_future(keeper.seat())
        await cores.end_when_told()
        await until(lambda: len(cores.processes) == 2)
        cores.say(CORE_IS_UP)
        assert (await seat).life == 2
        assert cores.deaths == [1]
