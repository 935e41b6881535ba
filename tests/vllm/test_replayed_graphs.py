"""Steps whose layers run without their Python, as a GPU replays a graph: nothing goes wrong unseen.

On a GPU, vLLM captures whole steps in which every request computes one token, and replays them.
Here the layers go past our hooks in such steps, or in all.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from onlooker.engine.vllm_adapter.wire import read_report
from tests.vllm.rig import (
    NUM_CLIPS,
    NUM_TOKENS,
    answer,
    asking,
    assert_same,
    at_most,
    ingest,
    ingesting,
    picks,
    preempted,
    result_of,
    retrieving,
)

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]


@contextmanager
def replaying(vllm: Any, replays: Callable[[list[int]], bool]) -> Iterator[list[bool]]:
    """Layers go past their hooks in steps in which `replays` says so of how many tokens each
    request computes. Gives whether they did, by step and layer."""
    impls = [layer._layer.impl for layer in vllm.worker._layers]
    went_past: list[bool] = []

    def either(impl: Any, name: str) -> Any:
        hooked, plain = getattr(impl, name), getattr(type(impl), name).__get__(impl)

        def called(*args: Any, **kwargs: Any) -> Any:
            is_replay = replays([one.num_tokens for one in vllm.scheduler.connector.scheduled])
            went_past.append(is_replay)
            return (plain if is_replay else hooked)(*args, **kwargs)

        return hooked, called

    hooks = []
    for impl in impls:
        for name in ("do_kv_cache_update", "forward"):
            hooked, called = either(impl, name)
            hooks.append((impl, name, hooked))
            setattr(impl, name, called)
    try:
        yield went_past
    finally:
        for impl, name, hooked in hooks:
            setattr(impl, name, hooked)


def single_tokens(num_tokens: list[int]) -> bool:
    """Whether vLLM has a whole graph for such a step."""
    return all(count == 1 for count in num_tokens)


def retrieved(vllm: Any) -> Any:
    return vllm.run(retrieving(vllm, 2, [6, 7]), max_tokens=NUM_TOKENS, logprobs=1)


def test_graphs_of_single_tokens_change_no_answer(vllm: Any) -> None:
    expected = answer(vllm, [0, 3, 6]), retrieved(vllm)
    with replaying(vllm, single_tokens) as went_past:
        found = answer(vllm, [0, 3, 6]), retrieved(vllm)
        again = preempted(vllm, retrieving(vllm, 2, [6, 7]))
    assert any(went_past), "no step was replayed"
    assert_same(result_of(found[0]), result_of(expected[0]))
    assert_same(result_of(found[1]), result_of(expected[1]))
    assert_same(result_of(again), result_of(expected[1]))
    assert picks(found[1]) == picks(expected[1])


def test_graphs_of_single_tokens_change_no_clip(vllm: Any) -> None:
    with replaying(vllm, single_tokens):
        ingest(vllm, 5, range(5), "whole", into="graphs")
    kept, expected = vllm.arena.get("graphs/5"), vllm.arena.get("whole/5")
    assert float((kept.keys - expected.keys).abs().max()) <= 1e-5


def test_a_clip_whose_last_token_is_replayed_is_told_to_be_lost(vllm: Any) -> None:
    num_tokens = len(vllm.clip(5)[0].token_ids)
    with replaying(vllm, single_tokens) as went_past, at_most(vllm, num_tokens - 1):
        output = vllm.run(ingesting(vllm, 5, range(5), "whole", into="lost"))
    assert any(went_past), "no step was replayed"
    assert read_report(output.kv_transfer_params).saved == []
    assert vllm.arena.get("lost/5") is None


def test_a_retrieval_in_a_replayed_step_fails_and_nobody_else_does(vllm: Any) -> None:
    expected = result_of(answer(vllm, range(NUM_CLIPS)))
    with replaying(vllm, lambda _: True):
        lost = vllm.add(retrieving(vllm, 2, [6, 7]), max_tokens=NUM_TOKENS)
        beside = vllm.add(asking(vllm, range(NUM_CLIPS)), max_tokens=NUM_TOKENS, logprobs=1)
        outputs: dict[str, Any] = {}
        while len(outputs) < 2:
            outputs.update({output.request_id: output for output in vllm.step()})
    assert outputs[lost].outputs[0].finish_reason == "error"
    assert_same(result_of(outputs[beside]), expected)


def test_a_question_torn_over_two_steps_fails(vllm: Any) -> None:
    """vLLM may cut a prompt where its encoder has no room, whatever the order of work says."""
    plain = vllm.scheduler.schedule
    vllm.scheduler.schedule = super(type(vllm.scheduler), vllm.scheduler).schedule
    try:
        with at_most(vllm, 3):
            output = vllm.run(retrieving(vllm, 2, [6, 7]), max_tokens=NUM_TOKENS)
    finally:
        vllm.scheduler.schedule = plain
    assert output.outputs[0].finish_reason == "error"
    assert_same(result_of(retrieved(vllm)), result_of(retrieved(vllm)))
