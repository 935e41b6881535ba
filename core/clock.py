"""The clocks. Nothing else reads the time: it receives a `Clock`, or an instant as an argument.

Two kinds of time run through the system. *Stream time* is when a frame was captured, in seconds
from the start of its stream; it comes with the frame. *Clock time* is when something happened
here, in monotonic seconds; it comes from a `Clock`.
"""

import asyncio
import heapq
import itertools
import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock that can also be slept on."""

    def now_s(self) -> float:
        """Monotonic seconds; only differences mean anything."""
        ...

    def wall_s(self) -> float:
        """Seconds since the Unix epoch, for timestamps that leave the process."""
        ...

    async def sleep(self, duration_s: float) -> None:
        """Return after `duration_s` seconds of this clock."""
        ...

    def alarm(self, duration_s: float) -> "asyncio.Future[None]":
        """A future that is done after `duration_s` seconds of this clock. Cancel it to forget it:
        for what is waited for beside something else, a task that sleeps costs several times as
        much."""
        ...


class SystemClock:
    """The clock of this machine."""

    now_s = staticmethod(time.monotonic)  # asked some twenty times for each frame
    wall_s = staticmethod(time.time)

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(max(0.0, duration_s))

    def alarm(self, duration_s: float) -> "asyncio.Future[None]":
        loop = asyncio.get_running_loop()
        rung: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(max(0.0, duration_s), _ring, rung)
        rung.add_done_callback(lambda _: timer.cancel())
        return rung


class ManualClock:
    """A clock that moves only when told to. For tests, simulation and the virtual clock of
    replays."""

    def __init__(self, start_s: float = 0.0, epoch_s: float = 1_700_000_000.0) -> None:
        self._now_s = start_s
        self._epoch_s = epoch_s
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now_s(self) -> float:
        return self._now_s

    def wall_s(self) -> float:
        return self._epoch_s + self._now_s

    async def sleep(self, duration_s: float) -> None:
        if duration_s <= 0:
            await asyncio.sleep(0)
            return
        await self.alarm(duration_s)

    def alarm(self, duration_s: float) -> "asyncio.Future[None]":
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if duration_s <= 0:
            woken.set_result(None)
        else:
            heapq.heappush(self._sleepers, (self._now_s + duration_s, next(self._order), woken))
        return woken

    def advance(self, duration_s: float) -> None:
        """Move time on and wake whoever was due, earliest first."""
        if duration_s < 0:
            raise ValueError(f"time cannot run backwards: {duration_s} s")
        self._now_s += duration_s
        while self._sleepers and self._sleepers[0][0] <= self._now_s:
            _, _, woken = heapq.heappop(self._sleepers)
            _ring(woken)


def _ring(alarm: "asyncio.Future[None]") -> None:
    if not alarm.done():
        alarm.set_result(None)
