"""`Lineup`: a step plan, made to hold inside vLLM's own `schedule`.

vLLM serves all running requests before any waiting one, each with as many tokens as the budget
still has. So the two queues are put in the plan's order, the budget becomes exactly what the plan
gives out, and running requests that the plan leaves out of this step are set aside, as if the
budget had ended before them; vLLM copes with that in any step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from onlooker.scheduler.step_plan import StepPlan


@dataclass(frozen=True, slots=True)
class Lineup:
    """Who runs, who is set aside, who waits, and the limits of the step."""

    running: list[str]
    """Ids of the requests that run, in order; `aside` and `waiting` hold ids, too."""
    aside: list[str]
    waiting: list[str]
    token_budget: int
    chunk_limit: int
    """Most tokens of one prefill; 0: no limit."""

    @classmethod
    def of(cls, plan: StepPlan, running: Sequence[str], waiting: Sequence[str]) -> "Lineup":
        """Split the plan by where vLLM keeps each request."""
        is_waiting = set(waiting)
        budget, chunk_limit = plan.token_budget, 0
        chosen: list[str] = []
        ahead: list[str] = []
        for allotment in plan.served:
            key, num_tokens = allotment.job.key, allotment.num_tokens
            if key in is_waiting:
                ahead.append(key)
                continue
            if num_tokens < allotment.job.num_tokens and ahead:
                # A piece of a running prefill: vLLM would give it all that is meant for those
                # ahead of it. A limit for all prefills says the same where nobody needs more.
                others = (a.num_tokens for a in plan.served if a is not allotment)
                if max(others, default=0) > num_tokens:
                    budget -= num_tokens
                    continue
                chunk_limit = num_tokens
            chosen.append(key)
        kept = {*chosen, *ahead}
        rest = [job.key for job in plan.waiting if job.key in is_waiting]
        return cls(
            running=chosen,
            aside=[key for key in running if key not in kept],
            waiting=[*ahead, *rest],
            token_budget=max(1, budget),
            chunk_limit=chunk_limit,
        )
