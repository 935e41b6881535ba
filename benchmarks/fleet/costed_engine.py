"""`CostedEngine`: a scripted engine that takes as long as a table says, one thing at a time."""

import asyncio
import math

from onlooker.core.clock import Clock
from onlooker.core.media import Clip
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import IngestResult
from onlooker.scheduler.load import EngineLoad

CLIP_S = 0.04
"""What the model takes for one clip: 25 of them fill a second."""

MEMORY_S = 2.0
"""How far back the load looks."""

MANY_STEPS = 1000
"""As if so many steps had been measured: the table is known."""


class CostedEngine(ScriptedEngine):
    """Sleeps while the model would work, so that several fit on few cores."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self._device = asyncio.Lock()
        self._load_ratio = 0.0
        self._ended_at_s = clock.now_s()
        self._num_waiting = 0

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        self._num_waiting += 1
        try:
            async with self._device:
                await self._clock.sleep(CLIP_S)
                self._note()
        finally:
            self._num_waiting -= 1
        return await super().ingest(clip, care)

    def load(self) -> EngineLoad:
        idle_s = max(0.0, self._clock.now_s() - self._ended_at_s)
        load = self._load_ratio * math.exp(-idle_s / MEMORY_S)
        return EngineLoad(
            busy_ratio=load,
            load_ratio=load,
            frames_ratio=load,
            frame_wait_s=self._num_waiting * CLIP_S,
            question_s=CLIP_S,
            clip_s=CLIP_S,
            num_steps=MANY_STEPS,
        )

    def _note(self) -> None:
        now_s = self._clock.now_s()
        passed_s = max(CLIP_S, now_s - self._ended_at_s)
        self._ended_at_s = now_s
        weight = 1 - math.exp(-passed_s / MEMORY_S)
        self._load_ratio += weight * (CLIP_S / passed_s - self._load_ratio)
