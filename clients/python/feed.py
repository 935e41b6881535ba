"""Sends a source's pictures to a stream, in real time, no faster than the server likes."""

import asyncio
from dataclasses import dataclass, field

from onlooker.clients.python.sources.interface import Source
from onlooker.clients.python.stream import RemoteStream
from onlooker.core.clock import Clock, SystemClock

SPEED_WINDOW = 20
"""Frames over which the current rate is averaged."""


@dataclass(slots=True)
class Feed:
    """One run of a source into a stream.

    Pictures are taken `fps` times a second, or as often as the server asks (`input_video.pace`)
    where that is less. A turn that comes too late is left out, not made up for.
    """

    source: Source
    stream: RemoteStream
    fps: float
    duration_s: float | None = None
    clock: Clock = field(default_factory=SystemClock)
    at_s: float = 0.0
    """Source time of the last picture that was sent."""
    offset_s: float = -1.0
    """Stream time at which the source's time begins; if negative, that at which `run` begins."""
    num_sent: int = 0
    _sent_at_s: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Send pictures until the source ends or `duration_s` is over.

        Raises:
            OnlookerError: the source or the stream ended badly.
        """
        start_s = self.clock.now_s()
        if self.offset_s < 0:
            self.offset_s = self.stream.now_s()
        due_s = 0.0
        while self.duration_s is None or due_s < self.duration_s:
            await self.clock.sleep(start_s + due_s - self.clock.now_s())
            picture = await self.source.picture(due_s)
            if picture is None:
                return
            await self.stream.send_frame(picture.pixels, at_s=self.offset_s + picture.at_s)
            self._count(picture.at_s)
            late_s = self.clock.now_s() - start_s
            due_s = max(due_s + 1.0 / self.rate_fps, late_s)

    @property
    def rate_fps(self) -> float:
        """Pictures a second that are meant to be sent now."""
        pace = self.stream.pace
        return self.fps if pace is None else max(0.1, min(self.fps, pace.fps))

    @property
    def measured_fps(self) -> float:
        """Pictures a second that were sent lately."""
        times = self._sent_at_s
        if len(times) < 2 or times[-1] <= times[0]:
            return 0.0
        return (len(times) - 1) / (times[-1] - times[0])

    def _count(self, at_s: float) -> None:
        self.at_s = at_s
        self.num_sent += 1
        self._sent_at_s.append(self.clock.now_s())
        del self._sent_at_s[:-SPEED_WINDOW]


async def run_beside(feed: Feed, *others: asyncio.Task[None]) -> None:
    """Run a feed and end the others with it; the first error of any of them is raised."""
    feeding = asyncio.create_task(feed.run())
    tasks = {feeding, *others}
    try:
        while feeding in tasks:
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in (feeding, *others):
            task.cancel()
        await asyncio.gather(feeding, *others, return_exceptions=True)
