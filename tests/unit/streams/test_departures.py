"""In which order, and how fast, the streams of a drained server leave."""

import asyncio
from collections.abc import Coroutine
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.ids import StreamId
from onlooker.streams.departures import CALM_SHARE, Departures, pause_s
from onlooker.streams.stream import Stream
from tests.fakes.waiting import limited, until

DRAIN_S = 10.0


class House:
    """Streams, of which a test says how many answers are under way, and when each left."""

    def __init__(self, num_streams: int, *, step_s: float = 0.05) -> None:
        self.clock = ManualClock()
        self.streams = [
            SimpleNamespace(
                id=StreamId(f"s{number}"), num_answers=0, is_leaving=False, closed_reason=None
            )
            for number in range(num_streams)
        ]
        self.left: dict[str, float] = {}
        self.holds = asyncio.Event()
        self.holds.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.departures = Departures(
            step_s=step_s,
            clock=self.clock,
            streams=lambda: cast("list[Stream]", list(self.streams)),
            move=cast("Any", self._move),
            spawn=self._spawn,
        )

    async def _move(self, stream: SimpleNamespace) -> None:
        self.streams.remove(stream)
        stream.closed_reason = "moved"
        self.left[stream.id] = self.clock.now_s()
        await self.holds.wait()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        running = asyncio.create_task(self.departures.run(deadline_s=DRAIN_S, is_done=lambda: True))
        async with limited("all to leave"):
            while not running.done():
                await asyncio.sleep(0)
                self.clock.advance(0.01)
        await running


async def test_streams_leave_one_after_the_other() -> None:
    house = House(20)
    await house.run()
    times = sorted(house.left.values())
    assert len(times) == 20
    assert all(after - before > 0.045 for before, after in pairwise(times))


async def test_many_leave_faster_so_that_all_have_left_in_the_calm_part() -> None:
    house = House(400)
    await house.run()
    assert max(house.left.values()) == pytest.approx(DRAIN_S * CALM_SHARE, abs=1.0)


async def test_a_stream_that_is_asked_is_let_go_between_two_answers() -> None:
    house = House(3)
    asked = house.streams[0]
    asked.num_answers = 1
    running = asyncio.create_task(house.run())
    await until(lambda: len(house.left) == 2)
    assert not asked.is_leaving
    asked.num_answers = 0
    await running
    assert house.left["s0"] < DRAIN_S * CALM_SHARE


async def test_one_that_is_always_asked_takes_no_more_questions_after_a_while() -> None:
    house = House(1)
    asked = house.streams[0]
    asked.num_answers = 1
    running = asyncio.create_task(house.run())
    await until(lambda: asked.is_leaving)
    assert house.clock.now_s() == pytest.approx(DRAIN_S * CALM_SHARE, abs=0.1)
    asked.num_answers = 0
    await running
    assert house.left["s0"] < DRAIN_S


async def test_no_answer_is_waited_for_beyond_the_time_of_a_drain() -> None:
    house = House(2)
    for stream in house.streams:
        stream.num_answers = 1
    await house.run()
    assert min(house.left.values()) == pytest.approx(DRAIN_S, abs=0.1)


async def test_who_asks_for_a_stream_that_is_being_let_go_waits_until_it_is_free() -> None:
    house = House(1)
    house.holds.clear()
    running = asyncio.create_task(house.run())
    await until(lambda: bool(house.left))
    waiting = asyncio.create_task(house.departures.settled(StreamId("s0")))
    await asyncio.sleep(0)
    assert not waiting.done()
    house.holds.set()
    await asyncio.gather(running, waiting)


async def test_streams_that_stay_are_asked_again_when_a_drain_is_called_off() -> None:
    house = House(1)
    stays = house.streams[0]
    stays.num_answers = 1
    running = asyncio.create_task(house.departures.run(deadline_s=0.1, is_done=lambda: True))
    await asyncio.sleep(0)
    house.clock.advance(0.06)
    await until(lambda: stays.is_leaving)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not stays.is_leaving


def test_what_is_late_does_not_pause() -> None:
    assert pause_s(3, -1.0, at_most_s=0.05) == 0.0
    assert pause_s(0, 1.0, at_most_s=0.05) == 0.05
    assert pause_s(100, 1.0, at_most_s=0.05) == 0.01
