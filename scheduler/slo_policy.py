"""The order of work: classes first, least slack first within a class, nobody starves.

Within a class the order is that of slack (least laxity first). Between classes it is strict, but
each lower class keeps a share of the engine's time: while it waits it earns credit (deficit round
robin, Shreedhar & Varghese 1995), and a request whose class has earned its cost goes before
questions. How much a step takes in is `StepBudget`'s to say.
"""

from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.cost_model import CostModel, StepWork
from onlooker.scheduler.job import Job
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.step_budget import StepBudget
from onlooker.scheduler.step_plan import Allotment, StepLimits, StepPlan

LEAST_CHUNK = 16
"""A prefill is not cut into pieces smaller than so many tokens."""

EXEMPT_CHUNK = 64
"""Tokens of the first question that every step takes in, whatever the budget says."""

MOST_CREDIT_S = 0.5
"""Engine time that a waiting class can earn; what it missed before is forgiven."""

SPARE_STEPS = 10
"""A frame with slack for so many short steps stays out of a question's step."""

HELD_SHARE = 0.2
"""What stays out of a question's step takes at most such a part of a short step."""

INF = float("inf")

LOWER = (RequestClass.INGEST, RequestClass.CHECK, RequestClass.BACKGROUND)


class SloPolicy:
    """An `onlooker.scheduler.step_plan.StepPolicy` by class, slack and measured cost."""

    def __init__(self, settings: SchedulerSection, costs: CostModel | None = None) -> None:
        self._settings = settings
        self.costs = costs or CostModel()
        self._shares = {
            RequestClass.INGEST: settings.ingest_share,
            RequestClass.CHECK: settings.check_share,
            RequestClass.BACKGROUND: settings.background_share,
        }
        self._credit_s = dict.fromkeys(LOWER, 0.0)
        self._left_waiting: set[RequestClass] = set()

    def plan(self, jobs: list[Job], now_s: float, limits: StepLimits) -> StepPlan:
        """Choose this step's work. Running answers always go on; the rest fills the budget."""
        step = _Step(self.costs, limits)
        costs_s = {job.key: step.costs.extra_s(job.work()) for job in jobs}
        queues = _ranked(jobs, now_s, costs_s)
        decoding = queues[RequestClass.DECODE]
        decodes = tuple(decoding)
        self._serve(step, RequestClass.DECODE, decoding, INF)
        budget = StepBudget.of(
            decodes,
            now_s=now_s,
            step_s=self._settings.step_s,
            ttft_s=self._settings.interactive.ttft_s,
            floor_s=step.costs.floor_s,
            backlog_s=sum(costs_s[job.key] for job in queues[RequestClass.INGEST]),
        )
        for lower in LOWER:
            self._serve_earned(step, lower, queues[lower])
        questions = queues[RequestClass.QUESTION]
        if any(queues[lower] for lower in LOWER):
            step.num_kept_free = max(1, limits.max_jobs // 8)  # answers run long: not every place
        self._serve(step, RequestClass.QUESTION, questions, budget.questions_s, is_exempt=True)
        self._serve(step, RequestClass.QUESTION, questions, budget.questions_s)
        step.num_kept_free = 0
        if len(step.served) > len(decodes) and self._can_wait(queues, costs_s, now_s):
            return self._planned(step, queues)
        for lower in LOWER:
            if not step.served:  # an idle engine takes the first, however long it is
                self._serve(step, lower, queues[lower], budget.frames_s, is_exempt=True)
            if len(step.served) == len(decodes):  # and any step takes one that delays no answer
                self._serve(step, lower, queues[lower], budget.answers_s, at_most=1)
            self._serve(step, lower, queues[lower], budget.frames_s)
        return self._planned(step, queues)

    def _planned(self, step: "_Step", queues: dict[RequestClass, list[Job]]) -> StepPlan:
        self._left_waiting = {lower for lower in LOWER if queues[lower]}
        waiting = [job for name in RequestClass for job in queues[name]]
        return StepPlan(step.served, waiting, step.predicted_s)

    def _can_wait(
        self, queues: dict[RequestClass, list[Job]], costs_s: dict[str, float], now_s: float
    ) -> bool:
        """Whether there is so little to do that frames and the rest leave a step to its questions:
        all of it takes a part of a short step, so that the next question does not wait for it, and
        has time to spare for many steps."""
        jobs = [job for lower in LOWER for job in queues[lower]]
        backlog_s = sum(costs_s[job.key] for job in jobs)
        spare_s = SPARE_STEPS * self._settings.step_s
        return backlog_s <= HELD_SHARE * self._settings.step_s and all(
            job.due_at_s - now_s - costs_s[job.key] > spare_s for job in jobs
        )

    def learn(self, work: StepWork, took_s: float) -> None:
        """Learn the cost of a step; classes that were left waiting earn their share of it."""
        self.costs.learn(work, took_s)
        for lower in self._left_waiting:
            earned_s = self._shares[lower] * took_s
            self._credit_s[lower] = min(MOST_CREDIT_S, self._credit_s[lower] + earned_s)

    def _serve_earned(self, step: "_Step", lower: RequestClass, queue: list[Job]) -> None:
        """Serve what a lower class has earned: one request, or a step's worth of small ones."""
        until_s = step.predicted_s + self._settings.step_s
        while queue and step.predicted_s < until_s:
            cost_s = min(MOST_CREDIT_S, step.costs.extra_s(queue[0].work()))
            num_waiting = len(queue)
            if self._credit_s[lower] >= cost_s:
                self._serve(step, lower, queue, 0.0, is_exempt=True)
            if len(queue) == num_waiting:
                return

    def _serve(
        self,
        step: "_Step",
        name: RequestClass,
        queue: list[Job],
        until_s: float,
        *,
        at_most: int | None = None,
        is_exempt: bool = False,
    ) -> None:
        """Serve from the front of `queue`, in order: nobody is passed over within a class.

        `is_exempt`: the first gets in whatever `until_s` says, and nobody else.
        """
        num_served = 0
        for job in queue:
            before_s = step.predicted_s
            if num_served == at_most or not step.take(job, until_s, is_exempt=is_exempt):
                break
            num_served += 1
            if name in self._credit_s:
                spent_s = step.predicted_s - before_s
                self._credit_s[name] = max(0.0, self._credit_s[name] - spent_s)
            if is_exempt or step.served[-1].num_tokens < job.num_tokens:
                break
        del queue[:num_served]


def _ranked(
    jobs: list[Job], now_s: float, costs_s: dict[str, float]
) -> dict[RequestClass, list[Job]]:
    """The jobs by class, least slack (`onlooker.scheduler.job.slack_s`) first."""
    queues: dict[RequestClass, list[Job]] = {name: [] for name in RequestClass}
    for job in jobs:
        queues[job.request_class].append(job)
    for queue in queues.values():
        queue.sort(key=lambda job: (job.due_at_s - now_s - costs_s[job.key], job.key))
    return queues


class _Step:
    """A step that is being filled."""

    def __init__(self, model: CostModel, limits: StepLimits) -> None:
        self.costs = model.table
        self.served: list[Allotment] = []
        self.predicted_s = self.costs.floor_s
        self._num_tokens = limits.max_tokens
        self._num_jobs = limits.max_jobs
        self.num_kept_free = 0
        """Places in the step that are not given away now."""
        self._most_whole = limits.max_tokens - limits.max_jobs  # beside as many decodes

    def take(self, job: Job, until_s: float, *, is_exempt: bool = False) -> bool:
        """Add `job`, or a piece of it, where the step then ends by `until_s`. True if any.

        `is_exempt`: some of it is added even where the step gets longer.
        """
        num_tokens = min(job.num_tokens, self._num_tokens)
        if self._num_jobs <= self.num_kept_free or num_tokens <= 0:
            return False
        is_whole = job.is_whole and job.num_tokens <= self._most_whole
        extra_s = self.costs.extra_s(job.work(num_tokens))
        if self.predicted_s + extra_s > until_s:
            fitting = self._fitting(job, until_s)
            if is_exempt:
                fitting = max(fitting, job.num_tokens if is_whole else EXEMPT_CHUNK)
            num_tokens = min(num_tokens, fitting)
        if num_tokens == job.num_tokens - 1:
            # A GPU may replay a step of single tokens as a graph, and what is to be saved of them
            # is not seen.
            num_tokens -= 1
        if num_tokens < job.num_tokens and (is_whole or num_tokens < LEAST_CHUNK):
            return False
        self.served.append(Allotment(job, num_tokens))
        self.predicted_s += self.costs.extra_s(job.work(num_tokens))
        self._num_tokens -= num_tokens
        self._num_jobs -= 1
        return True

    def _fitting(self, job: Job, until_s: float) -> int:
        """Tokens of `job` that fit, once its fixed costs are paid."""
        left_s = until_s - self.predicted_s - self.costs.extra_s(job.work(0))
        if left_s <= 0 or job.is_decoding:
            return 0
        if not self.costs.prefill_token_s:
            return job.num_tokens
        return int(left_s / self.costs.prefill_token_s)
