"""Requests in order of arrival, where no policy orders them."""

from onlooker.engine.vllm_adapter.step.arrivals import num_startable
from onlooker.engine.vllm_adapter.step.planner import StepPlanner
from tests.unit.engine.vllm_adapter.step.factories import (
    BLOCK,
    QUESTION_TOKENS,
    make_request,
    retrieving,
)

COVERED = 18


def startable(running: list[int], waiting: list[str], max_tokens: int) -> int:
    """How many of `waiting` may start beside running requests that need so many tokens: "plain"
    ones of 50 tokens, and "asking" ones."""
    planner = StepPlanner(block_size=BLOCK)
    return num_startable(
        [make_request(f"r{i}", num_left_tokens=count) for i, count in enumerate(running)],
        [
            make_request(f"w{i}", retrieving(), num_prompt_tokens=COVERED + QUESTION_TOKENS)
            if kind == "asking"
            else make_request(f"w{i}")
            for i, kind in enumerate(waiting)
        ],
        max_tokens=max_tokens,
        num_covered=planner.num_covered,
        retrieves=planner.retrieves,
    )


def test_a_question_waits_for_a_step_that_has_room_for_all_of_it() -> None:
    assert startable([1, 1], ["asking"], 21) == 0
    assert startable([1, 1], ["asking"], 22) == 1


def test_who_came_after_a_question_does_not_overtake_it() -> None:
    assert startable([], ["plain", "asking", "plain"], 60) == 1
    assert startable([], ["plain", "asking", "plain"], 70) == 3


def test_others_may_start_with_what_is_left_of_a_step() -> None:
    assert startable([40], ["plain", "plain"], 64) == 2


def test_a_question_that_no_step_has_room_for_is_not_waited_for() -> None:
    assert startable([1], ["asking"], QUESTION_TOKENS - 1) == 1
