"""Turns between surveys."""

import asyncio

from onlooker.server.rota import Rota
from tests.fakes.waiting import until


async def test_a_small_survey_does_not_wait_for_a_large_one_to_end() -> None:
    rota, order, ends = Rota(1), list[str](), asyncio.Event()

    async def ask(survey: str) -> None:
        async with rota.turn(survey):
            order.append(survey)
            await ends.wait()

    tasks = [asyncio.create_task(ask(survey)) for survey in ("large",) * 5 + ("small",) * 2]
    await until(lambda: order == ["large"])
    ends.set()
    await asyncio.gather(*tasks)
    assert order == ["large", "large", "small", "large", "small", "large", "large"]


async def test_who_gives_up_waiting_takes_no_turn() -> None:
    rota, ends, ran = Rota(1), asyncio.Event(), list[str]()

    async def ask(name: str) -> None:
        async with rota.turn(name):
            ran.append(name)
            await ends.wait()

    first, second, third = (asyncio.create_task(ask(name)) for name in "abc")
    await until(lambda: ran == ["a"])
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    ends.set()
    await asyncio.gather(first, third)
    assert ran == ["a", "c"]


async def test_a_turn_that_is_given_to_who_leaves_in_the_same_moment_goes_to_the_next() -> None:
    rota, ends, ran = Rota(1), asyncio.Event(), list[str]()

    async def ask(name: str) -> None:
        async with rota.turn(name):
            ran.append(name)
            await ends.wait()

    first, second, third = (asyncio.create_task(ask(name)) for name in "abc")
    await until(lambda: ran == ["a"])
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)  # the turn is the second's now, which has not run yet
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    ends.set()
    await third
    assert ran[-1] == "c"
