"""Open-loop trials: so many streams, each with frames and questions of its own, scored by targets.

A frame counts when it was kept and the model had seen it within the lag target of its own arrival
(not its clip's); an answer when it met TTFT and TPOT. Refusals and losses count against.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from onlooker.benchmarks.load import QUESTIONS
from onlooker.core.clock import Clock
from onlooker.core.errors import OnlookerError
from onlooker.core.ids import ResponseId, StreamId, new_id
from onlooker.core.media import Codec, EncodedFrame
from onlooker.engine.events import ClipSeen
from onlooker.engine.hub import StreamHub
from onlooker.engine.interface import AnswerDelta, AnswerEnd
from onlooker.engine.stream import Stream, StreamOptions
from onlooker.scheduler.simulator.outcome import jain, percentile
from onlooker.scheduler.slo import Slo, Tier

WARM_UP_S = 4.0
"""Frames and questions of the first seconds are not scored."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What arrives, and what is promised."""

    num_streams: int
    slo: Slo
    seconds: float = 20.0
    fps: float = 1.0
    question_every_s: float = 20.0
    """Mean time between a stream's questions (Poisson)."""
    tier: Tier = Tier.STANDARD
    question_tier: Tier | None = None
    seed: int = 1


@dataclass(slots=True)
class StreamScore:
    """One stream's frames and questions."""

    asked: int = 0
    refused: int = 0
    good: int = 0
    ttft_met: int = 0
    ttft_s: list[float] = field(default_factory=list)
    tpot_s: list[float] = field(default_factory=list)
    offered: int = 0
    in_time: int = 0
    lag_s: list[float] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    level: int = 0
    """Rung of the quality ladder at the end."""


@dataclass(slots=True)
class Score:
    """All streams of a trial."""

    trial: Trial
    streams: list[StreamScore]

    @property
    def answers_in_time(self) -> float:
        """Share of the questions whose answers met TTFT and TPOT; 1 where none was asked."""
        asked = sum(s.asked for s in self.streams)
        return sum(s.good for s in self.streams) / asked if asked else 1.0

    @property
    def ttft_met(self) -> float:
        """Share of the questions whose first word came in time."""
        asked = sum(s.asked for s in self.streams)
        return sum(s.ttft_met for s in self.streams) / asked if asked else 1.0

    @property
    def frames_in_time(self) -> float:
        """Share of the offered frames that were seen in time."""
        return sum(s.in_time for s in self.streams) / max(1, sum(s.offered for s in self.streams))

    def holds(self, share: float = 0.95) -> bool:
        """Whether the promises were kept."""
        return self.answers_in_time >= share and self.frames_in_time >= share

    def figures(self) -> dict[str, object]:
        """As plain data."""
        ttft_s = [value for s in self.streams for value in s.ttft_s]
        lag_s = [value for s in self.streams for value in s.lag_s]
        dropped: dict[str, int] = {}
        for s in self.streams:
            for reason, count in s.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + count
        return {
            "streams": self.trial.num_streams,
            "asked": sum(s.asked for s in self.streams),
            "refused": sum(s.refused for s in self.streams),
            "answers_in_time": round(self.answers_in_time, 4),
            "ttft_met": round(self.ttft_met, 4),
            "frames_in_time": round(self.frames_in_time, 4),
            "ttft_p50_s": round(percentile(ttft_s, 0.5), 4),
            "ttft_p99_s": round(percentile(ttft_s, 0.99), 4),
            "tpot_p99_s": round(percentile([v for s in self.streams for v in s.tpot_s], 0.99), 4),
            "lag_p50_s": round(percentile(lag_s, 0.5), 4),
            "lag_p99_s": round(percentile(lag_s, 0.99), 4),
            "fairness": round(jain([s.in_time / max(1, s.offered) for s in self.streams]), 4),
            "mean_level": round(sum(s.level for s in self.streams) / len(self.streams), 2),
            "dropped": dropped,
        }


async def run_trial(
    hub: StreamHub, trial: Trial, pictures: Sequence[Sequence[bytes]], clock: Clock
) -> Score:
    """Run one trial on a started hub. `pictures`: worlds as frames a second of stream time apart;
    stream n shows world n modulo their number, beginning at a place of its own."""
    start_s = clock.now_s() + 0.5
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_Driver(hub, trial, number, pictures, clock).run(start_s))
            for number in range(trial.num_streams)
        ]
    return Score(trial, [task.result() for task in tasks])


class _Driver:
    """One stream's camera and its viewer."""

    def __init__(
        self,
        hub: StreamHub,
        trial: Trial,
        number: int,
        pictures: Sequence[Sequence[bytes]],
        clock: Clock,
    ) -> None:
        self._hub, self._trial, self._clock = hub, trial, clock
        self._world = pictures[number % len(pictures)]
        self._first = number // len(pictures) * 7
        self._rng = random.Random(trial.seed * 7919 + number)
        self._pushed_at_s: dict[float, float] = {}
        self._score = StreamScore()

    async def run(self, start_s: float) -> StreamScore:
        trial = self._trial
        options = StreamOptions(clock="live", gate_threshold=0.0, tier=trial.tier)
        try:
            stream = await self._hub.open_stream(StreamId(new_id("load")), options)
        except OnlookerError:  # refused: all that it would have brought is lost
            self._score.offered = int((trial.seconds - WARM_UP_S) * trial.fps)
            return self._score
        listening = asyncio.create_task(self._listen(stream))
        asking = asyncio.create_task(self._ask_now_and_then(stream, start_s))
        begin_s = start_s + self._rng.random() / trial.fps  # cameras are not in step
        for index in range(int(trial.seconds * trial.fps)):
            await self._clock.sleep(begin_s + index / trial.fps - self._clock.now_s())
            self._push(stream, index)
        await asking
        await self._clock.sleep(trial.slo.lag_s)
        self._score.level = stream.status().quality_level
        self._score.dropped = {str(k): n for k, n in stream.status().dropped.items()}
        await self._hub.close_stream(stream.id, "measured")
        await listening
        return self._score

    def _push(self, stream: Stream, index: int) -> None:
        now_s, capture_s = self._clock.now_s(), index / self._trial.fps
        if capture_s >= WARM_UP_S:
            self._score.offered += 1
            self._pushed_at_s[capture_s] = now_s
        payload = self._world[(self._first + index) % len(self._world)]
        stream.push(EncodedFrame(index, capture_s, Codec.JPEG, payload, now_s))

    async def _listen(self, stream: Stream) -> None:
        async for _, event in stream.subscribe(max_events=10_000):
            if isinstance(event, ClipSeen):
                now_s = self._clock.now_s()
                for capture_s in {event.start_s, event.end_s}:
                    if (pushed_at_s := self._pushed_at_s.pop(capture_s, None)) is not None:
                        lag_s = now_s - pushed_at_s
                        self._score.lag_s.append(lag_s)
                        self._score.in_time += lag_s <= self._trial.slo.lag_s

    async def _ask_now_and_then(self, stream: Stream, start_s: float) -> None:
        trial = self._trial
        async with asyncio.TaskGroup() as group:
            at_s = WARM_UP_S + self._rng.expovariate(1 / trial.question_every_s)
            while at_s < trial.seconds:
                await self._clock.sleep(start_s + at_s - self._clock.now_s())
                group.create_task(self._ask(stream, self._rng.choice(QUESTIONS)))
                at_s += self._rng.expovariate(1 / trial.question_every_s)

    async def _ask(self, stream: Stream, question: str) -> None:
        score, slo = self._score, self._trial.slo
        score.asked += 1
        begun_s, first_s = self._clock.now_s(), None
        try:
            async for event in stream.ask(
                question,
                response_id=ResponseId(new_id("resp")),
                max_tokens=16,
                tier=self._trial.question_tier,
            ):
                now_s = self._clock.now_s()
                if isinstance(event, AnswerDelta) and first_s is None:
                    first_s = now_s
                if isinstance(event, AnswerEnd) and first_s is not None:
                    gaps = max(1, event.num_output_tokens - 1)
                    self._score_answer(first_s - begun_s, (now_s - first_s) / gaps, slo)
        except OnlookerError:
            score.refused += 1

    def _score_answer(self, ttft_s: float, tpot_s: float, slo: Slo) -> None:
        self._score.ttft_s.append(ttft_s)
        self._score.tpot_s.append(tpot_s)
        self._score.ttft_met += ttft_s <= slo.ttft_s
        self._score.good += ttft_s <= slo.ttft_s and tpot_s <= slo.tpot_s
