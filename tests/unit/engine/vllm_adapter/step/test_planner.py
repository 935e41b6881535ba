"""Plans of requests, turned into slots step by step."""

from dataclasses import replace

import pytest

from onlooker.engine.memory.plan import Filling, RequestPlan
from onlooker.engine.vllm_adapter.step.planner import StepPlanner
from onlooker.engine.vllm_adapter.wire import HeadOp, WorkerPlan, WorkerReport
from tests.unit.engine.vllm_adapter.step.factories import (
    BLOCK,
    QUESTION_TOKENS,
    SINK_TOKENS,
    ingesting,
    make_request,
    make_scheduled,
    retrieving,
)

COVERED = 18
"""Tokens of the sink and of one memory slot."""

PROMPT = COVERED + QUESTION_TOKENS


def started(planner: StepPlanner, num_tokens: int, *, num_found: int = 0) -> WorkerPlan:
    """The plan of the step in which a retrieving request starts with `num_tokens`; vLLM has the
    first `num_found` tokens of its prompt already."""
    request = make_request("q", retrieving(), num_prompt_tokens=PROMPT)
    if num_loaded := planner.num_to_load(request, num_found):
        planner.to_load(request, num_loaded)
    return planner.plan([make_scheduled("q", max(COVERED, num_found), num_tokens)])


def test_a_question_that_is_whole_in_its_step_retrieves() -> None:
    plan = started(StepPlanner(block_size=BLOCK), QUESTION_TOKENS)
    (retrieval,) = plan.retrievals
    assert len(retrieval.question_slots) == len(retrieval.question_positions) == QUESTION_TOKENS
    assert plan.refusals == []


@pytest.mark.parametrize("num_tokens", [1, 2, QUESTION_TOKENS - 1])
def test_a_question_that_is_not_whole_in_its_step_fails(num_tokens: int) -> None:
    """It would choose by the tokens that happen to be there, and never again by the others."""
    plan = started(StepPlanner(block_size=BLOCK), num_tokens)
    assert plan.retrievals == []
    (refusal,) = plan.refusals
    assert (refusal.request_id, refusal.block_ids) == ("q", [5, 6]), "its covered blocks"
    assert f"{num_tokens} of its {QUESTION_TOKENS} tokens" in refusal.reason


def test_a_question_that_finds_its_slots_in_vllms_blocks_fails() -> None:
    """Nobody has filled these slots for this question."""
    plan = started(StepPlanner(block_size=BLOCK), QUESTION_TOKENS - 14, num_found=2 * BLOCK)
    assert plan.retrievals == []
    assert [refusal.request_id for refusal in plan.refusals] == ["q"]


def test_a_question_fails_once_and_asks_no_more() -> None:
    planner = StepPlanner(block_size=BLOCK)
    started(planner, 1)
    plan = planner.plan([make_scheduled("q", COVERED + 1, QUESTION_TOKENS - 1)])
    assert (plan.retrievals, plan.refusals) == ([], [])


def test_a_preempted_answer_that_finds_its_blocks_again_needs_no_second_retrieval() -> None:
    planner = StepPlanner(block_size=BLOCK)
    started(planner, QUESTION_TOKENS)
    plan = started(planner, 7, num_found=2 * BLOCK)
    assert (plan.retrievals, plan.refusals) == ([], [])


def test_a_preempted_answer_whose_blocks_are_gone_retrieves_again() -> None:
    planner = StepPlanner(block_size=BLOCK)
    started(planner, QUESTION_TOKENS)
    plan = started(planner, QUESTION_TOKENS + 3)
    assert [len(op.question_slots) for op in plan.retrievals] == [QUESTION_TOKENS]


def test_another_request_of_the_same_name_retrieves_anew() -> None:
    planner = StepPlanner(block_size=BLOCK)
    started(planner, 1)
    planner.finish("q")
    assert len(started(planner, QUESTION_TOKENS).retrievals) == 1


def test_heads_are_applied_in_the_step_that_computes_the_last_token_of_the_prompt() -> None:
    planner = StepPlanner(block_size=BLOCK)
    request = make_request("q", RequestPlan(reads_heads=True), num_prompt_tokens=40)
    planner.num_covered(request)
    assert planner.plan([make_scheduled("q", 0, 30)]).heads == []
    # Token 39 lies in the third block, whose number is 7.
    assert planner.plan([make_scheduled("q", 30, 10)]).heads == [HeadOp("q", 7 * BLOCK + 7)]
    assert planner.plan([make_scheduled("q", 40, 1)]).heads == [], "what it generates has no part"


def test_heads_are_applied_for_requests_that_ask_for_them_only() -> None:
    planner = StepPlanner(block_size=BLOCK)
    planner.num_covered(make_request("q", RequestPlan(), num_prompt_tokens=40))
    assert planner.plan([make_scheduled("q", 0, 40)]).heads == []


def test_what_the_heads_gave_goes_with_the_output_of_their_request() -> None:
    planner = StepPlanner(block_size=BLOCK)
    planner.num_covered(make_request("q", RequestPlan(reads_heads=True), num_prompt_tokens=4))
    planner.note(WorkerReport(heads={"q": {"informative": 0.75}, "other": {"informative": 0.5}}))
    report = planner.finish("q")
    assert report is not None
    assert report.heads == {"informative": 0.75}


@pytest.mark.parametrize(
    ("num_found", "loaded"), [(0, 6), (8, 6), (SINK_TOKENS, 6), (12, 4), (BLOCK, 0)]
)
def test_rows_that_are_not_computed_are_loaded_right_before_those_that_are(
    num_found: int, loaded: int
) -> None:
    planner = StepPlanner(block_size=BLOCK)
    (save,) = ingesting().saves
    rows = [30, 31, 32, 33, 34, 35]
    filling = Filling("clip/0", rows, [row - 1 for row in rows], 1, [3], [2])
    start = SINK_TOKENS + len(rows)
    save = replace(save, start=start, num_tokens=34, rows=[0], filling=filling)
    plan = replace(ingesting(), saves=[save])
    request = make_request("i", plan, num_prompt_tokens=start + 34)
    assert planner.num_covered(request) == start
    if num_loaded := planner.num_to_load(request, num_found):
        planner.to_load(request, num_loaded)
    loads = planner.plan([make_scheduled("i", start, 34)]).loads
    filled = [op for op in loads if op.rows is not None]
    assert [op.keys for op in loads if op.rows is None] == [["sink"]] * (num_found < SINK_TOKENS)
    assert [len(op.slots) for op in filled] == [loaded] * (loaded > 0)
    for op in filled:
        assert (op.keys, op.rows, op.positions) == (
            ["clip/0"],
            filling.from_rows,
            [SINK_TOKENS + 1],
        )
        assert op.skip == len(rows) - loaded
        assert op.slots == list(range(5 * BLOCK + start - loaded, 5 * BLOCK + start))
