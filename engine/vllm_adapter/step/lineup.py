"""`Lineup`: a step plan, made to hold inside vLLM's own `schedule`.

vLLM serves all running requests before any waiting one, each with as many tokens as the budget
still has. So the two queues are put in the plan's order, the budget becomes exactly what the plan
gives out, and running requests that the plan leaves out of this step are set aside, as if the
budget had ended before them; vLLM copes with that in any step.

Waiting requests that the plan leaves out are held back: where somebody does not take all tokens
that are meant for them, vLLM would start whoever is next with what is left, and a question that
chooses clips must start whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from onlooker.engine.vllm_adapter.seams import RequestState
from onlooker.scheduler.step_plan import StepLimits, StepPlan


@dataclass(frozen=True, slots=True)
class Lineup:
    """Who runs, who is set aside, who starts, who is held back, and the limits of the step."""

    running: list[str]
    """Ids of the requests that run, in order; `aside`, `waiting` and `held` hold ids, too."""
    aside: list[str]
    waiting: list[str]
    """Requests that the step starts."""
    held: list[str]
    """Requests that wait on; those that the plan knows first, in its order."""
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
        planned = [job.key for job in plan.waiting if job.key in is_waiting]
        held = dict.fromkeys([*planned, *waiting])
        return cls(
            running=chosen,
            aside=[key for key in running if key not in kept],
            waiting=ahead,
            held=[key for key in held if key not in kept],
            token_budget=budget,
            chunk_limit=chunk_limit,
        )

    @classmethod
    def in_turn(
        cls,
        running: Sequence[RequestState],
        waiting: Sequence[RequestState],
        num_startable: int,
        limits: StepLimits,
    ) -> "Lineup":
        """vLLM's own order, in which the first `num_startable` of `waiting` may start."""
        keys = [request.request_id for request in waiting]
        return cls(
            running=[request.request_id for request in running],
            aside=[],
            waiting=keys[:num_startable],
            held=keys[num_startable:],
            token_budget=limits.max_tokens,
            chunk_limit=0,
        )
