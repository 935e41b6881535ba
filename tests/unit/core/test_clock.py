import asyncio

import pytest

from onlooker.core.clock import Clock, ManualClock, SystemClock


async def test_sleepers_wake_when_time_has_come_earliest_first() -> None:
    clock = ManualClock()
    woken: list[float] = []

    async def sleeper(duration_s: float) -> None:
        await clock.sleep(duration_s)
        woken.append(duration_s)

    async with asyncio.TaskGroup() as tasks:
        for duration_s in (3.0, 1.0, 2.0):
            tasks.create_task(sleeper(duration_s))
        await asyncio.sleep(0)
        clock.advance(0.5)
        await asyncio.sleep(0)
        assert woken == []
        clock.advance(1.5)
        await asyncio.sleep(0)
        assert woken == [1.0, 2.0]
        clock.advance(1.0)
    assert woken == [1.0, 2.0, 3.0]


async def test_a_cancelled_sleeper_does_not_stop_time() -> None:
    clock = ManualClock()
    sleeper = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    sleeper.cancel()
    await asyncio.gather(sleeper, return_exceptions=True)
    clock.advance(2)
    assert clock.now_s() == 2


def test_time_never_runs_backwards() -> None:
    with pytest.raises(ValueError, match="backwards"):
        ManualClock().advance(-1)


async def test_the_real_clock_goes_on() -> None:
    clock = SystemClock()
    before_s = clock.now_s()
    await clock.sleep(-1)
    assert clock.now_s() >= before_s
    assert clock.wall_s() > 1e9


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock()], ids=["system", "manual"])
async def test_an_alarm_rings_when_it_is_time_unless_it_was_cancelled(clock: Clock) -> None:
    alarm, forgotten = clock.alarm(0.01), clock.alarm(0.005)
    forgotten.cancel()
    assert not alarm.done()
    if isinstance(clock, ManualClock):
        clock.advance(0.01)
    await asyncio.wait_for(alarm, 10)
    assert forgotten.cancelled()


async def test_an_alarm_for_now_has_rung() -> None:
    await asyncio.wait_for(ManualClock().alarm(0.0), 10)
    await asyncio.wait_for(SystemClock().alarm(-1.0), 10)
