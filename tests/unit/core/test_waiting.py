"""A wait that is cut short by a future: which cancellations end at it, and which pass through."""

import asyncio
import contextlib

import pytest

from onlooker.core import waiting
from onlooker.core.waiting import CutShort, CutShortBy
from tests.fakes.waiting import limited


def make_future() -> "asyncio.Future[str]":
    return asyncio.get_running_loop().create_future()


class Work:
    """Something that takes for ever and notes how it ends."""

    def __init__(self) -> None:
        self.is_over = False

    async def run(self, ended: "asyncio.Future[str]") -> None:
        with CutShortBy(ended):
            try:
                await asyncio.Event().wait()
            finally:
                self.is_over = True


async def test_what_is_awaited_is_over_when_the_cut_is_told() -> None:
    work, ended = Work(), make_future()
    task = asyncio.ensure_future(work.run(ended))
    await asyncio.sleep(0)
    ended.set_result("enough")
    with pytest.raises(CutShort):
        await task
    assert work.is_over


async def test_nothing_begins_once_it_has_ended() -> None:
    ended = make_future()
    ended.set_result("enough")
    with pytest.raises(CutShort):
        await Work().run(ended)


async def test_somebody_elses_cancellation_passes_through() -> None:
    work, ended = Work(), make_future()
    task = asyncio.ensure_future(work.run(ended))
    await asyncio.sleep(0)
    task.cancel()
    ended.set_result("enough")  # in the same turn of the loop
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.is_over


async def test_a_block_that_ends_in_the_same_turn_is_not_cancelled_afterwards() -> None:
    ended, arrived = make_future(), make_future()

    async def run() -> str:
        with CutShortBy(ended):
            await arrived
        await asyncio.sleep(0)  # where a cancellation that came too late would strike
        return "whole"

    task = asyncio.ensure_future(run())
    await asyncio.sleep(0)
    arrived.set_result("now")
    ended.set_result("enough")
    assert await task == "whole"


async def test_a_cut_that_was_swallowed_leaves_no_cancellation_behind() -> None:
    ended = make_future()

    async def run() -> int:
        with CutShortBy(ended), contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    task = asyncio.ensure_future(run())
    await asyncio.sleep(0)
    ended.set_result("enough")
    assert await task == 0


async def test_the_inner_of_two_blocks_leaves_the_outer_ones_cut_to_it() -> None:
    inner, outer, work = make_future(), make_future(), Work()

    async def run() -> None:
        with CutShortBy(outer):
            try:
                await work.run(inner)
            except CutShort:
                pytest.fail("the inner future was never done")

    task = asyncio.ensure_future(run())
    await asyncio.sleep(0)
    outer.set_result("enough")
    with pytest.raises(CutShort):
        await task


async def test_a_task_that_loses_a_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "CANCEL_AGAIN_S", 0.0)
    num_lost = 0

    async def deaf() -> None:
        nonlocal num_lost
        while num_lost < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                num_lost += 1
        await asyncio.Event().wait()

    task = asyncio.ensure_future(deaf())
    await asyncio.sleep(0)
    async with limited("the task to end"):
        await waiting.cancel(task)
    assert (task.cancelled(), num_lost) == (True, 2)
