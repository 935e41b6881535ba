"""`ShownStream`: clips of a world, one after the other, straight into an engine."""

import numpy as np

from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId, new_id
from onlooker.core.media import Clip, Frame
from onlooker.demo_model.render import render
from onlooker.demo_model.world import World
from onlooker.engine.care import Care
from onlooker.engine.interface import Engine, IngestResult
from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.ticket import Ticket

_SLO = SchedulerSection().slo()

NUM_PICTURES = 64
"""How many clips are drawn; they are shown over and over, with times that go on."""


class ShownStream:
    """A stream with one clip of two frames a second of stream time, as fast as the engine takes it.

    Args:
        number: seed of the world.
    """

    def __init__(self, engine: Engine, number: int) -> None:
        self.id = StreamId(new_id("bench"))
        self.num_shown = 0
        self._engine = engine
        info, world = engine.info, World(number)
        self._pictures = [
            render(world.state_at(index / 2), info.frame_width, info.frame_height)
            for index in range(2 * NUM_PICTURES)
        ]

    async def show(self, num_clips: int) -> list[IngestResult]:
        """Show the next clips; each waits for the one before."""
        return [await self._engine.ingest(self._next(), _care()) for _ in range(num_clips)]

    def _next(self) -> Clip:
        index, self.num_shown = self.num_shown, self.num_shown + 1
        frames = [
            Frame(2 * index + half, index + half / 2, 0.0, np.array(self._pictures[place]))
            for half in (0, 1)
            for place in [(2 * index + half) % len(self._pictures)]
        ]
        return Clip(self.id, index, (frames[0], frames[1]))


def _care() -> Care:
    """What a stream of the default tier says of a clip that has just come in."""
    now_s = SystemClock().now_s()
    return Care(Ticket(RequestClass.INGEST, now_s, now_s + _SLO.lag_s, _SLO.tpot_s))
