import asyncio
from contextlib import ExitStack
from functools import partial

import pytest

from onlooker.server.pulse import MAX_STEPS, MEMBERS_A_STEP, Pulse
from tests.fakes.waiting import until


@pytest.mark.parametrize("num_members", [3, 5 * MEMBERS_A_STEP + 3, 2 * MAX_STEPS * MEMBERS_A_STEP])
async def test_every_member_is_called_again_and_again(num_members: int) -> None:
    pulse, called = Pulse(0.01), [0] * num_members

    def count(index: int) -> None:
        called[index] += 1

    contexts = [pulse.joined(partial(count, index)) for index in range(len(called))]
    for context in contexts:
        context.__enter__()
    await until(lambda: min(called) >= 2)
    assert max(called) - min(called) <= 1
    for context in contexts:
        context.__exit__(None, None, None)


async def test_who_has_left_is_called_no_more() -> None:
    pulse, other, called = Pulse(0.01), Pulse(0.01), [0, 0, 0]

    def first() -> None:
        called[0] += 1

    def second() -> None:
        called[1] += 1

    def third() -> None:
        called[2] += 1

    with pulse.joined(first):
        with pulse.joined(second):
            await until(lambda: min(called[:2]) >= 1)
        num_second = called[1]
        await until(lambda: called[0] >= 3)
        assert called[1] == num_second
    num_first = called[0]
    with other.joined(third):
        await until(lambda: called[2] >= 3)
    assert called[0] == num_first


async def test_few_members_are_called_in_one_turn_of_the_loop() -> None:
    pulse, called = Pulse(0.01), [0] * MEMBERS_A_STEP
    after_first: list[int] = []

    def count(index: int) -> None:
        called[index] += 1
        if index == 0:
            asyncio.get_running_loop().call_soon(lambda: after_first.append(sum(called)))

    with ExitStack() as stack:
        for index in range(len(called)):
            stack.enter_context(pulse.joined(partial(count, index)))
        await until(lambda: bool(after_first))
    assert after_first[0] == len(called)
