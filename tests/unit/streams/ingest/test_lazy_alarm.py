import asyncio

from onlooker.core.clock import ManualClock
from onlooker.streams.ingest.lazy_alarm import LazyAlarm


class CountingClock(ManualClock):
    """Counts the timers that were started."""

    num_alarms = 0

    def alarm(self, duration_s: float) -> "asyncio.Future[None]":
        self.num_alarms += 1
        return super().alarm(duration_s)


async def passed(clock: ManualClock, duration_s: float) -> None:
    """Time goes on, and whoever was due is called."""
    clock.advance(duration_s)
    for _ in range(3):
        await asyncio.sleep(0)


async def test_it_rings_when_it_was_put_off_to_and_not_before() -> None:
    clock, rung_at_s = CountingClock(), list[float]()
    alarm = LazyAlarm(clock, lambda: rung_at_s.append(clock.now_s()))
    alarm.set(2.0)
    await passed(clock, 1.0)
    alarm.set(2.0)
    await passed(clock, 1.0)
    assert rung_at_s == []
    await passed(clock, 1.0)
    await passed(clock, 9.0)
    assert rung_at_s == [3.0]


async def test_it_rings_earlier_where_it_is_set_to() -> None:
    clock, rung_at_s = CountingClock(), list[float]()
    alarm = LazyAlarm(clock, lambda: rung_at_s.append(clock.now_s()))
    alarm.set(5.0)
    alarm.set(1.0)
    await passed(clock, 1.0)
    await passed(clock, 9.0)
    assert rung_at_s == [1.0]


async def test_it_does_not_ring_while_it_is_unset_and_does_when_it_is_set_again() -> None:
    clock, rung_at_s = CountingClock(), list[float]()
    alarm = LazyAlarm(clock, lambda: rung_at_s.append(clock.now_s()))
    alarm.set(1.0)
    alarm.unset()
    await passed(clock, 2.0)
    assert rung_at_s == []
    alarm.set(1.0)
    await passed(clock, 1.0)
    assert rung_at_s == [3.0]


async def test_a_closed_one_does_not_ring() -> None:
    clock, rung_at_s = CountingClock(), list[float]()
    alarm = LazyAlarm(clock, lambda: rung_at_s.append(clock.now_s()))
    alarm.set(1.0)
    alarm.close()
    await passed(clock, 2.0)
    assert rung_at_s == []


async def test_to_set_and_unset_it_again_and_again_starts_hardly_any_timers() -> None:
    clock = CountingClock()
    alarm = LazyAlarm(clock, lambda: None)
    for _ in range(100):
        alarm.set(1.0)
        await passed(clock, 0.1)
        alarm.unset()
    assert clock.num_alarms <= 12  # in ten seconds
