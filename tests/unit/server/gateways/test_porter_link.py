"""A gateway's end of the pipe to who started it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import pytest

from onlooker.core.errors import ConfigError
from onlooker.engine.shared_core import CoreSeat
from onlooker.server.gateways.messages import CoreDied, SeatGiven, SeatRefused, SeatWanted
from onlooker.server.gateways.porter_link import PorterLink
from tests.fakes.waiting import until

SEAT = CoreSeat(3, 1, 4, "ipc:///in", "ipc:///out")


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[PorterLink, Connection, list[str]]]:
    ours, theirs = Pipe()
    lost: list[str] = []
    link = PorterLink(ours, gateway=1, num_gateways=2, on_lost=lambda: lost.append("lost"))
    async with link:
        yield link, theirs, lost
    ours.close()
    theirs.close()


async def test_a_seat_is_asked_for_and_given() -> None:
    async with linked() as (link, porter, _):
        seat = asyncio.ensure_future(link.seat(dead_life=2))
        await until(porter.poll)
        assert porter.recv() == SeatWanted(2)
        porter.send(SeatGiven(SEAT))
        assert await seat == SEAT


async def test_a_core_that_does_not_start_is_an_error_that_says_why() -> None:
    async with linked() as (link, porter, _):
        seat = asyncio.ensure_future(link.seat())
        porter.send(SeatRefused("no such model"))
        await until(porter.poll)
        with pytest.raises(ConfigError, match="no such model"):
            await seat


async def test_the_death_of_a_core_is_heard_by_who_uses_that_one() -> None:
    async with linked() as (link, porter, _):
        older, newer = (asyncio.ensure_future(link.gone(life)) for life in (1, 2))
        porter.send(CoreDied(1))
        await older
        assert not newer.done()
        porter.send(CoreDied(2))
        await newer
        await link.gone(1)  # it is over, whenever that is asked


async def test_a_gateway_whose_porter_has_ended_hears_of_it_once() -> None:
    async with linked() as (link, porter, lost):
        porter.close()
        await until(lambda: lost == ["lost"])
        link.tell(SeatWanted(None))  # to nobody, and no failure
        assert lost == ["lost"]
