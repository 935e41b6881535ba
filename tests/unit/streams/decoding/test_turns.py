import asyncio
from functools import partial

import pytest

from onlooker.core.clock import ManualClock
from onlooker.streams.decoding.turns import Turns
from tests.fakes.waiting import until


class Line:
    """Tenants that ask for turns; `served` is who got one, in order."""

    def __init__(self, num_turns: int, *, share: float = 100.0) -> None:
        self.clock = ManualClock()
        self.turns = Turns(num_turns=num_turns, share=share, clock=self.clock)
        self.served: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def ask(self, *tenants: str) -> None:
        await self._settle()
        for tenant in tenants:
            self._tasks.append(asyncio.create_task(self._take(tenant)))
            await self._settle()

    async def end(self, tenant: str, *, spent_s: float = 0.0) -> None:
        self.turns.give_back(tenant, spent_s=spent_s)
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, tenant: str) -> None:
        await self.turns.take(tenant)
        self.served.append(tenant)


async def test_turns_are_given_out_until_there_are_none() -> None:
    line = Line(2)
    await line.ask("a", "b", "c")
    assert line.served == ["a", "b"]
    await line.end("a")
    assert line.served == ["a", "b", "c"]


async def test_no_tenant_gets_the_last_turn() -> None:
    line = Line(3)
    await line.ask("a", "a", "a", "b")
    assert line.served == ["a", "a", "b"]
    await line.close()


async def test_a_single_turn_is_anybody_s() -> None:
    line = Line(1)
    await line.ask("a")
    assert line.served == ["a"]


async def test_a_tenant_with_many_messages_waits_for_one_with_few() -> None:
    line = Line(1)
    await line.ask("a", "a", "a", "a", "b")
    await line.end("a")
    assert line.served == ["a", "b"]
    await line.end("b")
    assert line.served == ["a", "b", "a"]
    await line.close()


async def test_who_has_used_up_its_share_waits_behind_the_others() -> None:
    line = Line(3, share=1.0)
    await line.ask("a")
    await line.end("a", spent_s=3.0)
    await line.ask("b", "c", "d")
    await line.ask("a", "b")
    await line.end("c")
    assert line.served == ["a", "b", "c", "d", "b"]
    await line.end("d")
    assert line.served == ["a", "b", "c", "d", "b", "a"]
    await line.close()


async def test_who_has_used_up_its_share_gets_one_turn_at_a_time_until_it_has_grown_again() -> None:
    line = Line(3, share=1.0)
    await line.ask("a")
    await line.end("a", spent_s=3.0)
    await line.ask("a", "a")
    assert line.served == ["a", "a"]
    line.clock.advance(2.0)
    await line.ask("b")
    assert line.served == ["a", "a", "b", "a"]


async def test_a_turn_that_nobody_waits_for_any_more_goes_to_the_next() -> None:
    line = Line(1)
    await line.ask("a")
    gone = asyncio.create_task(line.turns.take("b"))
    await until(lambda: line.turns.num_waiting("b") == 1)
    await line.ask("c")
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await line.end("a")
    assert line.served == ["a", "c"]


async def test_a_turn_that_comes_as_its_taker_goes_is_given_back() -> None:
    line = Line(1)
    await line.ask("a")
    gone = asyncio.create_task(line.turns.take("b"))
    await until(lambda: line.turns.num_waiting("b") == 1)
    line.turns.give_back("a", spent_s=0.0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert line.turns.is_idle
    await line.ask("c")
    assert line.served == ["a", "c"]


async def test_it_stalls_when_there_is_something_to_do_and_nothing_is_done() -> None:
    line = Line(1)
    line.clock.advance(100.0)
    assert line.turns.stalled_s == 0.0
    await line.ask("a", "a")
    line.clock.advance(7.0)
    assert line.turns.stalled_s == 7.0
    await line.end("a")
    assert line.turns.stalled_s == 0.0
    await line.end("a")
    assert line.turns.is_idle


async def test_tenants_that_have_gone_are_forgotten() -> None:
    line = Line(1)
    for number in range(10):
        await line.ask(f"tenant {number}")
        await line.end(f"tenant {number}")
    assert len(line.turns._accounts) <= 1


async def test_what_takes_long_steps_aside_for_the_next_and_is_still_charged() -> None:
    line = Line(1, share=1.0)
    await line.ask("a", "b", "c")
    assert line.served == ["a"]
    assert line.turns.step_aside("a")
    await line.ask()
    assert line.served == ["a", "b"]
    assert not line.turns.step_aside("b")  # as many are aside as there are turns
    line.turns.come_back("a", spent_s=3.0)
    assert line.served == ["a", "b"]
    await line.ask("a")
    await line.end("b")
    assert line.served == ["a", "b", "c"]
    await line.end("c")
    assert line.served == ["a", "b", "c", "a"]
    await line.end("a")
    assert line.turns.is_idle


async def test_who_has_used_up_its_share_and_is_aside_gets_no_other_turn() -> None:
    line = Line(2, share=1.0)
    await line.ask("a")
    await line.end("a", spent_s=3.0)
    await line.ask("a")
    line.turns.step_aside("a")
    await line.ask("a")
    assert line.served == ["a", "a"]
    line.turns.come_back("a", spent_s=0.0)
    await line.ask()
    assert not line.turns.is_idle


async def test_who_gives_up_as_a_turn_comes_free_loses_it_to_nobody() -> None:
    line = Line(1)
    await line.ask("a", "b", "c")
    line._tasks[1].cancel()  # b's; it has not yet heard of that when a's turn is over
    await line.end("a")
    assert line.served == ["a", "c"]
    await line.end("c")
    assert line.turns.is_idle
    await line.ask("d")
    assert line.served == ["a", "c", "d"]
    await line.close()


async def test_a_turn_is_given_at_once_to_who_stands_in_line_and_not_to_who_has_left_it() -> None:
    line = Line(1)
    await line.ask("a")
    begun: list[str] = []
    places = [line.turns.queue("b", partial(begun.append, name)) for name in ("left", "stayed")]
    places[0].leave()
    assert line.turns.num_waiting("b") == 1
    line.turns.give_back("a", spent_s=0.0)
    assert begun == ["stayed"]
    places[1].leave()  # its turn has come: it leaves no line
    assert not line.turns.is_idle
    line.turns.give_back("b", spent_s=0.0)
    assert line.turns.is_idle


async def test_many_whose_turns_are_over_at_once_do_not_fill_the_stack() -> None:
    line = Line(1)
    await line.ask("a")
    done: list[int] = []

    def begin(number: int) -> None:
        done.append(number)
        line.turns.give_back("b", spent_s=0.0)

    for number in range(5000):
        line.turns.queue("b", partial(begin, number))
    line.turns.give_back("a", spent_s=0.0)
    assert done == list(range(5000))
    assert line.turns.is_idle
