"""Other orders of work, as published servers have them. All take vLLM's limits of a step."""

from collections.abc import Iterable

from onlooker.scheduler.cost_model import StepWork
from onlooker.scheduler.job import Job
from onlooker.scheduler.step_plan import Allotment, StepLimits, StepPlan


def filled(order: Iterable[Job], max_tokens: int, max_jobs: int) -> StepPlan:
    """Serve in `order` until tokens or places run out, cutting what does not fit."""
    plan = StepPlan()
    for job in order:
        if max_tokens <= 0 or max_jobs <= 0:
            plan.waiting.append(job)
            continue
        num_tokens = min(job.num_tokens, max_tokens)
        plan.served.append(Allotment(job, num_tokens))
        max_tokens -= num_tokens
        max_jobs -= 1
    return plan


class _Unlearning:
    """A policy that needs no costs."""

    def learn(self, work: StepWork, took_s: float) -> None:
        """Learn nothing."""


class Fcfs(_Unlearning):
    """vLLM's own order: running requests in order of their start, then waiting ones by arrival."""

    def __init__(self) -> None:
        self._started: dict[str, None] = {}

    def plan(self, jobs: list[Job], now_s: float, limits: StepLimits) -> StepPlan:
        known = {job.key: job for job in jobs}
        self._started = {key: None for key in self._started if key in known}
        running = [known[key] for key in self._started]
        waiting = [job for job in jobs if job.key not in self._started]
        plan = filled([*running, *waiting], limits.max_tokens, limits.max_jobs)
        self._started |= {allotment.job.key: None for allotment in plan.served}
        return plan


class DecodeFirst(_Unlearning):
    """No prefill while any answer runs: the gap between tokens is all that counts."""

    def plan(self, jobs: list[Job], now_s: float, limits: StepLimits) -> StepPlan:
        decoding = [job for job in jobs if job.is_decoding]
        rest = [job for job in jobs if not job.is_decoding]
        if not decoding:
            return filled(rest, limits.max_tokens, limits.max_jobs)
        plan = filled(decoding, limits.max_tokens, limits.max_jobs)
        plan.waiting += rest
        return plan


class FixedBudget(_Unlearning):
    """Sarathi-Serve (OSDI '24): decodes first, then prefill by arrival up to so many tokens."""

    def __init__(self, budget: int) -> None:
        self._budget = budget

    def plan(self, jobs: list[Job], now_s: float, limits: StepLimits) -> StepPlan:
        order = sorted(jobs, key=lambda job: not job.is_decoding)
        return filled(order, min(self._budget, limits.max_tokens), limits.max_jobs)


class Edf(_Unlearning):
    """Earliest deadline first, whatever it is the deadline of."""

    def plan(self, jobs: list[Job], now_s: float, limits: StepLimits) -> StepPlan:
        order = sorted(jobs, key=lambda job: job.due_at_s)
        return filled(order, limits.max_tokens, limits.max_jobs)
