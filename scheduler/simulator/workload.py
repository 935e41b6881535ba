"""What arrives: frames and questions of many streams, drawn from one seed before anything runs.

Arrivals are open-loop: nobody waits for an answer before the next one asks.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from onlooker.scheduler.slo import Tier


class Kind(Enum):
    FRAME = "frame"
    QUESTION = "question"
    JOIN = "join"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    """Something that happens to a stream, whatever the engine does."""

    at_s: float
    stream: int
    kind: Kind = Kind.FRAME


@dataclass(frozen=True, slots=True)
class Workload:
    """How many streams, and how they behave."""

    name: str = "poisson"
    num_streams: int = 16
    seconds: float = 30.0
    fps: float = 1.0
    question_every_s: float = 20.0
    """Mean time between a stream's questions."""
    seed: int = 1
    usual_tier: Tier = Tier.INTERACTIVE

    def tier(self, stream: int) -> Tier:
        """The tier of a stream: all have the usual one, except where tiers are mixed."""
        if self.name == "mixed_tiers":
            return list(Tier)[stream % 3]
        return self.usual_tier

    def is_slow_load(self, rng: random.Random) -> bool:
        """Whether a question's memory lies in a slow tier."""
        return self.name == "slow_store" and rng.random() < 0.2

    def arrivals(self) -> list[Arrival]:
        """All arrivals of the workload, in order of time."""
        rng = random.Random(f"{self.name}/{self.seed}")  # noqa: S311  # seeded on purpose
        events: list[Arrival] = []
        asks = _ASKING.get(self.name, _poisson)
        for stream in range(self.num_streams):
            begin_s, end_s = self._life(stream, rng)
            events += [Arrival(begin_s, stream, Kind.JOIN), Arrival(end_s, stream, Kind.LEAVE)]
            at_s = begin_s + rng.random() / self.fps  # cameras are not in step
            while at_s < end_s:
                events.append(Arrival(at_s, stream, Kind.FRAME))
                at_s += 1 / self.fps
            events += [
                Arrival(asked_s, stream, Kind.QUESTION)
                for asked_s in asks(self, rng)
                if begin_s + 1 < asked_s < end_s
            ]
        events.sort(key=lambda event: (event.at_s, event.stream, event.kind.value))
        return events

    def _life(self, stream: int, rng: random.Random) -> tuple[float, float]:
        if self.name != "joins_and_leaves":
            return 0.0, self.seconds
        begin_s = 0.0 if stream % 2 else rng.uniform(0, self.seconds / 2)
        return begin_s, rng.uniform(begin_s + self.seconds / 4, self.seconds * 1.2)


Asking = Callable[[Workload, random.Random], list[float]]


def _at_rate(rng: random.Random, begin_s: float, end_s: float, every_s: float) -> list[float]:
    times, at_s = [], begin_s + rng.expovariate(1 / every_s)
    while at_s < end_s:
        times.append(at_s)
        at_s += rng.expovariate(1 / every_s)
    return times


def _poisson(load: Workload, rng: random.Random) -> list[float]:
    return _at_rate(rng, 0.0, load.seconds, load.question_every_s)


def _steady(load: Workload, rng: random.Random) -> list[float]:
    first_s = rng.random() * load.question_every_s
    count = int((load.seconds - first_s) / load.question_every_s) + 1
    return [first_s + index * load.question_every_s for index in range(max(0, count))]


def _bursts(load: Workload, rng: random.Random) -> list[float]:
    """Times at which questions come: ten times as many for two seconds out of ten, few between."""
    times = _at_rate(rng, 0.0, load.seconds, 2 * load.question_every_s)
    for begin_s in range(5, int(load.seconds), 10):
        times += _at_rate(rng, begin_s, begin_s + 2.0, load.question_every_s / 10)
    return times


def _everyone(load: Workload, rng: random.Random) -> list[float]:
    """Times at which questions come: as Poisson, and from all at one moment besides."""
    return [*_poisson(load, rng), load.seconds / 2 + rng.random() * 0.1]


def _flood(load: Workload, rng: random.Random) -> list[float]:
    """Times at which questions come: five times as many, from a tenth of the time to the end."""
    begin_s = load.seconds / 10
    return [
        *_at_rate(rng, 0.0, begin_s, load.question_every_s),
        *_at_rate(rng, begin_s, load.seconds, load.question_every_s / 5),
    ]


_ASKING: dict[str, Asking] = {
    "steady": _steady,
    "bursts": _bursts,
    "everyone_at_once": _everyone,
    "question_flood": _flood,
}

NAMES = (
    "steady",
    "poisson",
    "bursts",
    "everyone_at_once",
    "question_flood",
    "joins_and_leaves",
    "mixed_tiers",
    "slow_store",
)
"""The names of all workloads."""
