"""Requests that are preempted, aborted or fail change no answer and no stored segment."""

from typing import Any

import pytest

from tests.vllm.rig import (
    NUM_CLIPS,
    NUM_TOKENS,
    QUESTION,
    answer,
    asking,
    assert_a_missing_segment_fails_its_own_request,
    assert_same,
    at_most,
    ingest,
    ingesting,
    preempted,
    result_of,
    retrieving,
)

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]


def test_preemption_in_the_middle_of_an_answer_changes_nothing(vllm: Any) -> None:
    expected = result_of(answer(vllm, [0, 3, 6]))
    assert_same(result_of(preempted(vllm, asking(vllm, [0, 3, 6]))), expected)


def test_an_ingest_that_is_preempted_half_way_gives_the_same_segment(vllm: Any) -> None:
    with at_most(vllm, 4):
        vllm.add(ingesting(vllm, 5, range(5), "whole", into="preempted"))
        vllm.step()
        vllm.step()
        assert vllm.scheduler.reset_prefix_cache(reset_running_requests=True)
        while not vllm.step():
            pass
    whole, preempted = vllm.arena.get("whole/5"), vllm.arena.get("preempted/5")
    assert float((whole.keys - preempted.keys).abs().max()) <= 1e-5
    assert float((whole.plain_keys - preempted.plain_keys).abs().max()) <= 1e-5


def test_an_aborted_answer_leaves_nothing_behind(vllm: Any) -> None:
    expected = result_of(answer(vllm, range(NUM_CLIPS)))
    count, free = len(vllm.arena), vllm.scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
    request = vllm.add(asking(vllm, range(NUM_CLIPS)), max_tokens=200)
    for _ in range(3):
        vllm.step()
    vllm.engine.abort_request([request])
    vllm.step()
    assert not vllm.engine.has_unfinished_requests()
    assert len(vllm.arena) == count
    assert vllm.scheduler.kv_cache_manager.block_pool.get_num_free_blocks() == free
    assert_same(result_of(answer(vllm, range(NUM_CLIPS))), expected)


def test_an_ingest_that_is_aborted_in_the_middle_leaves_no_segment(vllm: Any) -> None:
    count = len(vllm.arena)
    with at_most(vllm, 4):
        request = vllm.add(ingesting(vllm, 5, range(5), "whole", into="aborted"))
        for _ in range(2):
            assert not vllm.step()
        vllm.engine.abort_request([request])
        vllm.step()
    assert len(vllm.arena) == count
    assert vllm.arena.get("aborted/5") is None
    assert len(vllm.worker._mover._partial) == 0


def test_a_retrieval_that_is_preempted_answers_the_same(vllm: Any) -> None:
    expected = vllm.run(retrieving(vllm, 2, [6, 7]), max_tokens=NUM_TOKENS, logprobs=1)
    found = preempted(vllm, retrieving(vllm, 2, [6, 7]))
    assert_same(result_of(found), result_of(expected))


def test_a_missing_segment_fails_its_request_and_no_other(vllm: Any) -> None:
    assert_a_missing_segment_fails_its_own_request(vllm)


def test_a_stored_segment_is_never_changed_by_using_it(vllm: Any) -> None:
    segment = vllm.arena.get("whole/3")
    keys, values = segment.keys.clone(), segment.values.clone()
    for _ in range(3):
        answer(vllm, [5, 3])
    assert bool((vllm.arena.get("whole/3").keys == keys).all())
    assert bool((vllm.arena.get("whole/3").values == values).all())


def test_a_check_leaves_the_stored_memory_bit_identical(vllm: Any) -> None:
    """The two forms of check: how a reply begins, and how well a given reply fits."""
    from onlooker.core.ids import StreamId
    from onlooker.engine.checks import Check
    from onlooker.engine.vllm_adapter.gateway import sampling
    from onlooker.engine.vllm_adapter.gateway.features import engine_input

    def memory() -> dict[str, tuple[bytes, bytes]]:
        segments = {key: vllm.arena.get(key) for key in [f"whole/{i}" for i in range(NUM_CLIPS)]}
        return {
            key: (segment.keys.numpy().tobytes(), segment.values.numpy().tobytes())
            for key, segment in {**segments, "sink": vllm.arena.get("sink")}.items()
        }

    before, count = memory(), len(vllm.arena)
    yes_no = [vllm.ids("yes"), vllm.ids("no")]
    asked = Check(StreamId("x"), QUESTION, 0.0, answers=(("yes",), ("no",)))
    given = Check(StreamId("x"), QUESTION, 0.0, given="red")
    for check, groups in ((asked, yes_no), (given, [])):
        prompt = asking(vllm, [5, 6, 7]).build()
        options = sampling.for_check(check, groups, plan=prompt.plan)
        vllm.engine.add_request(f"check-{len(groups)}", engine_input(prompt), options)
        while not vllm.step():
            pass
    assert memory() == before
    assert len(vllm.arena) == count


def test_a_clip_is_encoded_once_and_never_for_an_answer(vllm: Any) -> None:
    counts: list[int] = []

    def count_calls(model: Any) -> None:
        plain = model.visual.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            counts.append(1)
            return plain(*args, **kwargs)

        model.visual.forward = forward

    def restore(model: Any) -> None:
        del model.visual.forward

    vllm.llm.apply_model(count_calls)
    try:
        for index in (0, 1, 2):
            ingest(vllm, index, range(index), "whole", into="counted")
        assert len(counts) == 3
        answer(vllm, [0, 1, 2])
        vllm.run(retrieving(vllm, 2, [6, 7]), max_tokens=2)
        assert len(counts) == 3
    finally:
        vllm.llm.apply_model(restore)
