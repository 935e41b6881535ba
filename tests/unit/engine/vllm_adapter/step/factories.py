"""Requests and plans for tests of steps."""

from typing import Any

from onlooker.engine.memory.key_runs import KeyRuns
from onlooker.engine.memory.load_runs import LoadRuns, LoadSpan
from onlooker.engine.memory.plan import MemorySlot, RequestPlan, RetrievalPlan, SaveSpan
from onlooker.engine.vllm_adapter.seams import RequestState, ScheduledRequest
from onlooker.engine.vllm_adapter.wire import plan_params, ticket_params
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.ticket import Ticket

BLOCK = 16

SINK_TOKENS = 10

QUESTION_TOKENS = 20


def retrieving(num_slots: int = 1) -> RequestPlan:
    """A plan of a sink, memory slots of 8 tokens, and a question that fills them."""
    start = SINK_TOKENS + 8 * num_slots
    return RequestPlan(
        loads=LoadRuns.of([LoadSpan("sink", 0, SINK_TOKENS, 0)]),
        retrieval=RetrievalPlan(
            slots=[
                MemorySlot(SINK_TOKENS + 8 * i, 8, SINK_TOKENS + 4 * i) for i in range(num_slots)
            ],
            candidates=KeyRuns.of(["clip/1", "clip/2", "clip/3"]),
            recent=KeyRuns(),
            num_wanted=1,
            traces=False,
            question_start=start,
            question_tokens=QUESTION_TOKENS,
            question_position=SINK_TOKENS + 4 * num_slots,
        ),
    )


def ingesting() -> RequestPlan:
    """A plan that saves a clip of 40 tokens behind a sink."""
    return RequestPlan(
        loads=LoadRuns.of([LoadSpan("sink", 0, SINK_TOKENS, 0)]),
        saves=[SaveSpan("clip/1", SINK_TOKENS, 40, SINK_TOKENS, [[0] * 40] * 3)],
    )


def make_request(
    request_id: str,
    plan: RequestPlan | None = None,
    *,
    ticket: Ticket | None = None,
    num_prompt_tokens: int = 50,
    num_computed_tokens: int = 0,
    num_left_tokens: int | None = None,
    **changes: Any,
) -> RequestState:
    left = num_prompt_tokens - num_computed_tokens if num_left_tokens is None else num_left_tokens
    fields: dict[str, Any] = {
        "request_id": request_id,
        "plan_params": None if plan is None else plan_params(plan),
        "extra_args": None if ticket is None else ticket_params(ticket),
        "num_prompt_tokens": num_prompt_tokens,
        "num_computed_tokens": num_computed_tokens,
        "num_left_tokens": left,
        "num_guessed_tokens": 0,
        "num_output_tokens": 0,
        "feature_starts": (),
        "is_ending": False,
        "is_blocked": False,
    }
    return RequestState(**{**fields, **changes})


def make_scheduled(request_id: str, num_computed: int, num_tokens: int) -> ScheduledRequest:
    """A request of which a step computes `num_tokens`; its blocks are 5, 6, 7 and so on."""
    num_blocks = -(-(num_computed + num_tokens) // BLOCK)
    return ScheduledRequest(
        request_id, num_computed, num_tokens, 0, 0, lambda: list(range(5, 5 + num_blocks))
    )


def make_ticket(name: RequestClass = RequestClass.QUESTION, due_at_s: float = 1.0) -> Ticket:
    return Ticket(name, arrived_at_s=0.0, due_at_s=due_at_s, tpot_s=0.1)
