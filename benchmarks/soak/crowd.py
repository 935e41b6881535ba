"""`Crowd`: live streams and viewers that come and go, and how long they waited."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from itertools import count

from onlooker.clients.python.client import Client
from onlooker.core.clock import Clock
from onlooker.core.errors import OnlookerError

NUM_STREAMS, NUM_VIEWERS = 2, 3
FRAME_EVERY_S = 0.5
STREAM_LIFE_S, VISIT_S = (15.0, 45.0), (2.0, 8.0)
"""How long a stream, and a viewer's visit, may last."""
RETRY_S = 1.0
QUESTIONS = ("What colour is the circle?", "How many objects are there?", "What was there before?")


class Crowd:
    """Runs until it is cancelled. Nothing that is refused ends it."""

    def __init__(
        self, client: Client, pictures: Sequence[bytes], clock: Clock, rng: random.Random
    ) -> None:
        self._client, self._pictures, self._clock, self._rng = client, pictures, clock, rng
        self._numbers = count()
        self._open: list[str] = []
        self.counts: Counter[str] = Counter()
        """Frames and questions by what became of them, since `restart`."""
        self.worst_s = {"frame": 0.0, "question": 0.0}
        """The longest that a frame was waited for until it was acknowledged, and a question until
        it was answered or refused, since `restart`."""

    def restart(self) -> None:
        """Forget what was counted."""
        self.counts.clear()
        self.worst_s = {"frame": 0.0, "question": 0.0}

    async def run(self) -> None:
        """Stream and watch."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(NUM_STREAMS):
                tasks.create_task(self._stream_forever())
            for _ in range(NUM_VIEWERS):
                tasks.create_task(self._view_forever())

    async def _stream_forever(self) -> None:
        while True:
            name = f"camera-{next(self._numbers)}"
            try:
                await self._client.create_stream(name)
                self._open.append(name)
                await self._stream(name)
            except OnlookerError as error:
                self.counts[f"stream {error.code}"] += 1
                await self._clock.sleep(RETRY_S)
            finally:
                if name in self._open:
                    self._open.remove(name)
            try:
                await self._client.close_stream(name)
            except OnlookerError as error:
                self.counts[f"close {error.code}"] += 1

    async def _stream(self, name: str) -> None:
        begun_s = self._clock.now_s()
        life_s = self._rng.uniform(*STREAM_LIFE_S)
        for number in count():
            now_s = self._clock.now_s()
            if now_s - begun_s > life_s:
                return
            picture = self._pictures[number % len(self._pictures)]
            try:
                reply = await self._client.push_frame(name, picture, at_s=now_s - begun_s)
                self.counts[f"frame {reply.reason or reply.outcome}"] += 1
            except OnlookerError as error:
                self.counts[f"frame {error.code}"] += 1
                await self._clock.sleep(RETRY_S)
            self._waited("frame", now_s)
            await self._clock.sleep(now_s + FRAME_EVERY_S - self._clock.now_s())

    async def _view_forever(self) -> None:
        while True:
            if self._open:
                await self._visit(self._rng.choice(self._open))
            await self._clock.sleep(RETRY_S)

    async def _visit(self, name: str) -> None:
        try:
            async with asyncio.timeout(60.0), self._client.stream(name) as stream:
                until_s = self._clock.now_s() + self._rng.uniform(*VISIT_S)
                while self._clock.now_s() < until_s:
                    asked_s = self._clock.now_s()
                    try:
                        await stream.ask(self._rng.choice(QUESTIONS), max_output_tokens=8)
                        self.counts["question answered"] += 1
                    finally:
                        self._waited("question", asked_s)
                    await self._clock.sleep(RETRY_S)
        except OnlookerError as error:
            self.counts[f"question {error.code}"] += 1
        except TimeoutError:
            self.counts["question timeout"] += 1

    def _waited(self, kind: str, since_s: float) -> None:
        self.worst_s[kind] = max(self.worst_s[kind], self._clock.now_s() - since_s)
