"""Open-loop trials: many streams, each with frames and questions of its own, scored by targets.

A frame is good if it was kept and the model had seen it within the lag target of its own arrival
(not its clip's), an answer if it met TTFT and TPOT. Refused and lost ones count as not good.
"""

import asyncio
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from onlooker.benchmarks.load import QUESTIONS
from onlooker.core.clock import Clock
from onlooker.core.errors import OnlookerError
from onlooker.core.ids import StreamId, new_id
from onlooker.core.media import Codec, EncodedFrame
from onlooker.engine.interface import AnswerDelta, AnswerEnd, Question
from onlooker.scheduler.simulator.outcome import jain, rounded_percentile
from onlooker.scheduler.slo import Slo, Tier
from onlooker.streams.events import ClipSeen
from onlooker.streams.hub import StreamHub
from onlooker.streams.stream import Stream, StreamOptions

SETTLE_S = 6.0
"""What arrives in the first seconds is not scored: all streams begin at once then, which is another
question than how many of them a server holds."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What arrives in a trial, and the targets that are promised."""

    num_streams: int
    slo: Slo
    seconds: float = 20.0
    """The length of the part that is scored, after `settle_s`."""
    settle_s: float = SETTLE_S
    fps: float = 1.0
    feed_s: float = math.inf
    """How long frames come, from the start of the trial on."""
    question_every_s: float = 20.0
    """Mean time between a stream's questions (Poisson)."""
    is_regular: bool = False
    """Whether questions come at even intervals instead, those of the streams in turns."""
    tier: Tier = Tier.STANDARD
    question_tier: Tier | None = None
    question_slo: Slo | None = None
    """Targets of answers; None takes `slo`."""
    seed: int = 1


@dataclass(slots=True)
class StreamScore:
    """What became of one stream's frames and questions."""

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
    """The rung of the quality ladder on which the stream ended."""


@dataclass(slots=True)
class LoadScore:
    """The scores of all streams of a trial."""

    trial: Trial
    streams: list[StreamScore]

    @property
    def answers_in_time(self) -> float:
        """Share of the questions whose answers met TTFT and TPOT; 1 where none was asked."""
        asked = sum(s.asked for s in self.streams)
        return sum(s.good for s in self.streams) / asked if asked else 1.0

    @property
    def ttft_met(self) -> float:
        """Share of the questions whose first word came in time; 1 where none was asked."""
        asked = sum(s.asked for s in self.streams)
        return sum(s.ttft_met for s in self.streams) / asked if asked else 1.0

    @property
    def goodput(self) -> float:
        """Answers a second that met TTFT and TPOT."""
        num_trials = len(self.streams) / self.trial.num_streams
        return sum(s.good for s in self.streams) / (num_trials * self.trial.seconds)

    @property
    def seen_in_time(self) -> float:
        """Of the frames that were seen at all, the share that was seen in time."""
        return sum(s.in_time for s in self.streams) / max(
            1, sum(len(s.lag_s) for s in self.streams)
        )

    @property
    def frames_in_time(self) -> float:
        """Share of the offered frames that were seen in time; 1 where none was offered."""
        offered = sum(s.offered for s in self.streams)
        return sum(s.in_time for s in self.streams) / offered if offered else 1.0

    @property
    def share(self) -> float:
        """The share (0-1) by which a trial is judged: that of the promise that was kept worst."""
        return min(self.answers_in_time, self.frames_in_time)

    def with_(self, other: "LoadScore") -> "LoadScore":
        """The scores of this trial and another of as many streams, taken together."""
        return LoadScore(self.trial, [*self.streams, *other.streams])

    def figures(self) -> dict[str, object]:
        """The scores as figures that can be written as JSON."""
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
            "seen_in_time": round(self.seen_in_time, 4),
            "goodput_per_s": round(self.goodput, 3),
            "ttft_p50_s": rounded_percentile(ttft_s, 0.5),
            "ttft_p99_s": rounded_percentile(ttft_s, 0.99),
            "tpot_p99_s": rounded_percentile([v for s in self.streams for v in s.tpot_s], 0.99),
            "lag_p50_s": rounded_percentile(lag_s, 0.5),
            "lag_p99_s": rounded_percentile(lag_s, 0.99),
            "fairness": round(jain([s.in_time / max(1, s.offered) for s in self.streams]), 4),
            "mean_level": round(sum(s.level for s in self.streams) / len(self.streams), 2),
            "dropped": dropped,
        }


async def run_trial(
    hub: StreamHub, trial: Trial, pictures: Sequence[Sequence[bytes]], clock: Clock
) -> LoadScore:
    """Run one trial on a started hub.

    `pictures` holds the frames of each world as JPEG. Stream n shows world n modulo their number,
    over and over, beginning at a frame of its own.
    """
    drivers = [_Driver(hub, trial, number, pictures, clock) for number in range(trial.num_streams)]
    for driver in drivers:
        await driver.open()
    start_s = clock.now_s() + 0.5
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(driver.run(start_s)) for driver in drivers]
    return LoadScore(trial, [task.result() for task in tasks])


class _Driver:
    """Plays the camera and the viewer of one stream."""

    def __init__(
        self,
        hub: StreamHub,
        trial: Trial,
        number: int,
        pictures: Sequence[Sequence[bytes]],
        clock: Clock,
    ) -> None:
        self._hub, self._trial, self._clock = hub, trial, clock
        self._number = number
        self._stream: Stream | None = None
        self._world = pictures[number % len(pictures)]
        self._first = number // len(pictures) * 7
        self._rng = random.Random(trial.seed * 7919 + number)
        self._pushed_at_s: dict[float, float] = {}
        self._score = StreamScore()

    async def open(self) -> None:
        """Open the stream; if that is refused, all frames that it would have brought are lost."""
        trial = self._trial
        options = StreamOptions(clock="live", gate_threshold=0.0, tier=trial.tier)
        try:
            self._stream = await self._hub.open_stream(StreamId(new_id("load")), options)
        except OnlookerError:
            self._score.offered = int(trial.seconds * trial.fps)

    async def run(self, start_s: float) -> StreamScore:
        """Play the trial, which begins at `start_s`."""
        trial, stream = self._trial, self._stream
        if stream is None:
            return self._score
        listening = asyncio.create_task(self._listen(stream))
        asking = asyncio.create_task(self._ask_now_and_then(stream, start_s))
        begin_s = start_s + self._rng.random() / trial.fps  # cameras are not in step
        for index in range(int(min(trial.feed_s, self._end_s) * trial.fps)):
            await self._clock.sleep(begin_s + index / trial.fps - self._clock.now_s())
            self._push(stream, index)
        await asking
        await self._clock.sleep(trial.slo.lag_s)
        self._score.level = stream.status().quality_level
        self._score.dropped = {str(k): n for k, n in stream.status().dropped.items()}
        await self._hub.close_stream(stream.id, "measured")
        await listening
        return self._score

    @property
    def _end_s(self) -> float:
        return self._trial.settle_s + self._trial.seconds

    def _push(self, stream: Stream, index: int) -> None:
        now_s, capture_s = self._clock.now_s(), index / self._trial.fps
        if capture_s >= self._trial.settle_s:
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
        async with asyncio.TaskGroup() as group:
            for at_s in self._asking_s():
                await self._clock.sleep(start_s + at_s - self._clock.now_s())
                group.create_task(self._ask(stream, self._rng.choice(QUESTIONS), at_s))

    def _asking_s(self) -> Iterator[float]:
        """The times of this stream's questions, in seconds from the start of the trial."""
        trial = self._trial
        every_s = trial.question_every_s
        if trial.is_regular:
            at_s = trial.settle_s + every_s * self._number / trial.num_streams
        else:
            at_s = self._rng.expovariate(1 / every_s)
        while at_s < self._end_s:
            yield at_s
            at_s += every_s if trial.is_regular else self._rng.expovariate(1 / every_s)

    async def _ask(self, stream: Stream, question: str, at_s: float) -> None:
        is_scored = at_s >= self._trial.settle_s
        score = self._score if is_scored else StreamScore()
        slo = self._trial.question_slo or self._trial.slo
        score.asked += 1
        begun_s, first_s = self._clock.now_s(), None
        try:
            asked = Question(text=question, max_tokens=16, tier=self._trial.question_tier)
            async for event in stream.ask(asked):
                now_s = self._clock.now_s()
                if isinstance(event, AnswerDelta) and first_s is None:
                    first_s = now_s
                if isinstance(event, AnswerEnd) and first_s is not None:
                    gaps = max(1, event.num_output_tokens - 1)
                    _note_answer(score, first_s - begun_s, (now_s - first_s) / gaps, slo)
        except OnlookerError:
            score.refused += 1


def _note_answer(score: StreamScore, ttft_s: float, tpot_s: float, slo: Slo) -> None:
    score.ttft_s.append(ttft_s)
    score.tpot_s.append(tpot_s)
    score.ttft_met += ttft_s <= slo.ttft_s
    score.good += ttft_s <= slo.ttft_s and tpot_s <= slo.tpot_s
