"""A live clock that runs slower than real time, for machines that are too slow or too busy.

Everything that goes by the clock (frames, deadlines, latencies) is slowed alike, so that a run
tells what a machine so many times as fast would do. A result that used it says so.
"""

from onlooker.core.clock import SystemClock


class SlowClock(SystemClock):
    """`factor` real seconds to each of its own."""

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def now_s(self) -> float:
        return super().now_s() / self._factor

    async def sleep(self, duration_s: float) -> None:
        await super().sleep(duration_s * self._factor)
