from functools import partial

from onlooker.server.pulse import NUM_GROUPS, Pulse
from tests.fakes.waiting import until


async def test_every_member_is_called_again_and_again() -> None:
    pulse, called = Pulse(0.01), [0] * (NUM_GROUPS + 3)

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
