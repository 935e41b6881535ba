"""`Lineup`: a step plan, made to hold inside vLLM's own `schedule`.

vLLM serves all running requests before any waiting one, each with as many tokens as the budget
still has. So the two queues are put in the plan's order, the budget becomes exactly what the plan
gives out, and running requests that the plan leaves out of this step are set aside, as if the
budget had ended before them; vLLM copes with that in any step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vllm.v1.request import Request

from onlooker.scheduler.step_plan import StepPlan


@dataclass(frozen=True, slots=True)
class Lineup:
    """Who runs, who is set aside, who waits, and the limits of the step."""

    running: list[Request]
    aside: list[Request]
    waiting: list[Request]
    token_budget: int
    chunk_limit: int
    """Most tokens of one prefill; 0: no limit."""

    @classmethod
    def of(cls, plan: StepPlan, running: list[Request], waiting: list[Request]) -> "Lineup":
        """Split the plan by where vLLM keeps each request."""
        is_running = {request.request_id: request for request in running}
        is_waiting = {request.request_id: request for request in waiting}
        budget, chunk_limit = plan.token_budget, 0
        chosen: list[Request] = []
        ahead: list[Request] = []
        for allotment in plan.served:
            key, num_tokens = allotment.job.key, allotment.num_tokens
            if key in is_waiting:
                ahead.append(is_waiting[key])
                continue
            if num_tokens < allotment.job.num_tokens and ahead:
                # A piece of a running prefill: vLLM would give it all that is meant for those
                # ahead of it. A limit for all prefills says the same where nobody needs more.
                others = (a.num_tokens for a in plan.served if a is not allotment)
                if max(others, default=0) > num_tokens:
                    budget -= num_tokens
                    continue
                chunk_limit = num_tokens
            chosen.append(is_running[key])
        kept = {request.request_id for request in (*chosen, *ahead)}
        rest = [is_waiting[job.key] for job in plan.waiting if job.key in is_waiting]
        return cls(
            running=chosen,
            aside=[request for request in running if request.request_id not in kept],
            waiting=[*ahead, *rest],
            token_budget=max(1, budget),
            chunk_limit=chunk_limit,
        )

    @contextmanager
    def arranged(self, scheduler: Any) -> Iterator[None]:
        """Let `scheduler` schedule one step in this order; its limits are restored after it."""
        config = scheduler.scheduler_config
        tokens, active = scheduler.max_num_scheduled_tokens, scheduler.max_num_active_reqs
        threshold = config.long_prefill_token_threshold
        scheduler.running = self.running
        scheduler.waiting.clear()
        scheduler.waiting.extend(self.waiting)
        scheduler.max_num_scheduled_tokens = min(tokens, self.token_budget)
        scheduler.max_num_active_reqs = max(0, active - len(self.aside))
        if self.chunk_limit:
            config.long_prefill_token_threshold = self.chunk_limit
        try:
            yield
        finally:
            scheduler.running += self.aside
            scheduler.max_num_scheduled_tokens = tokens
            scheduler.max_num_active_reqs = active
            config.long_prefill_token_threshold = threshold
