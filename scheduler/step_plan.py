"""What one engine step should compute."""

from dataclasses import dataclass, field
from typing import Protocol

from onlooker.scheduler.cost_model import StepWork
from onlooker.scheduler.job import Job


@dataclass(frozen=True, slots=True)
class Allotment:
    """Tokens of one request in this step."""

    job: Job
    num_tokens: int


@dataclass(slots=True)
class StepPlan:
    """Who is served, in order, and with how much."""

    served: list[Allotment] = field(default_factory=list)
    waiting: list[Job] = field(default_factory=list)
    """Requests that are not served, in the order in which they would be."""
    predicted_s: float = 0.0

    @property
    def token_budget(self) -> int:
        """Tokens of the whole step."""
        return sum(allotment.num_tokens for allotment in self.served)

    @property
    def work(self) -> StepWork:
        """The step's work in counts."""
        total = StepWork()
        for allotment in self.served:
            total += allotment.job.work(allotment.num_tokens)
        return total


@dataclass(frozen=True, slots=True)
class StepLimits:
    """What the engine can take in one step at most."""

    max_tokens: int
    max_jobs: int


class StepPolicy(Protocol):
    """Decides each step, and is told afterwards what the step took."""

    def plan(self, jobs: list[Job], now_s: float, limits: StepLimits) -> StepPlan:
        """Choose what the step computes among all unfinished `jobs`."""
        ...

    def learn(self, work: StepWork, took_s: float) -> None:
        """Learn that a planned step of `work` has taken `took_s` seconds."""
        ...
