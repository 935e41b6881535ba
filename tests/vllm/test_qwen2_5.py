"""Stream memory of a Qwen2.5-VL is correct to the number, as that of a Qwen3-VL is.

Its clips tell time by place, so they are tried with one pair of frames and with two.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.vllm.rig import (
    NUM_CLIPS,
    NUM_TOKENS,
    QUESTION,
    TOLERANCE,
    Rebuilt,
    answer,
    asking,
    assert_a_missing_segment_fails_its_own_request,
    assert_same,
    assert_stored,
    clip_of,
    ingest_all,
    picks,
    question_ids,
    result_of,
    retrieving,
    save_sink,
    sink_ids,
)

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def booted(qwen2_5_folder: Path) -> Iterator[Any]:
    from tests.vllm.in_process import SegmentVllm

    engine = SegmentVllm(qwen2_5_folder)
    save_sink(engine)
    yield engine
    engine.engine.engine_core.shutdown()


@pytest.fixture(scope="module", params=[2, 4], ids=["2 frames", "4 frames"])
def vllm(booted: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    booted.num_frames = request.param
    ingest_all(booted)
    yield booted
    booted.arena.drop_prefix("whole/")
    booted.arena.drop_prefix("sliding/")
    booted.engine.reset_encoder_cache()  # other pixels come under the same names


@pytest.fixture(scope="module")
def reference(qwen2_5_folder: Path) -> Any:
    from tests.vllm.reference import Reference

    return Reference(qwen2_5_folder)


# ---- against stock vLLM ----


def test_clips_ingested_one_by_one_answer_as_one_ordinary_request(vllm: Any) -> None:
    output = answer(vllm, range(NUM_CLIPS))
    stock = vllm.stock(list(range(NUM_CLIPS)), QUESTION, NUM_TOKENS)
    assert output.prompt_token_ids == stock.prompt_token_ids
    assert_same(result_of(output), result_of(stock))


def test_the_comparison_notices_clips_in_another_order(vllm: Any) -> None:
    stock = result_of(vllm.stock(list(range(NUM_CLIPS)), QUESTION, NUM_TOKENS))
    swapped = result_of(answer(vllm, [1, 0, *range(2, NUM_CLIPS)]))
    assert _differ(swapped, stock)


def test_the_places_of_all_tokens_are_those_that_the_model_gives_them(vllm: Any) -> None:
    from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
    from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange

    from onlooker.engine.vllm_adapter.gateway.features import engine_input
    from onlooker.engine.vllm_adapter.wire import POSITIONS_FIELD

    prompt = engine_input(asking(vllm, range(NUM_CLIPS)).build())
    start = len(sink_ids(vllm))
    features = []
    for index in range(NUM_CLIPS):
        clip, pixels = clip_of(vllm, index, "whole")
        place = PlaceholderRange(start + clip.placeholder.offset, clip.placeholder.length)
        features.append(MultiModalFeatureSpec(pixels, "video", str(index), place))
        start += len(clip.token_ids)

    def stock(model: Any) -> Any:
        return Qwen2_5_VLForConditionalGeneration.get_mrope_input_positions(
            model, prompt["prompt_token_ids"], features
        )

    (expected,) = vllm.llm.apply_model(stock)
    (carrier,) = prompt["mm_kwargs"]["video"]
    assert carrier[POSITIONS_FIELD].data.tolist() == expected[0].tolist()


def test_a_clip_is_restored_from_what_was_stored_with_it(vllm: Any) -> None:
    from onlooker.engine.memory.clip_tokens import ClipTokens

    clip, _ = clip_of(vllm, 3, "whole")
    restored = ClipTokens.restored(clip.key, clip.meta(), vllm.layout)
    assert restored.token_ids == clip.token_ids
    assert restored.offsets.tolist() == clip.offsets.tolist()
    assert restored.extent == clip.extent
    assert restored.meta() == clip.meta()


# ---- against the reference ----


@pytest.mark.parametrize("seed", range(4))
def test_any_selection_in_any_order_equals_the_reference(
    vllm: Any, whole: Rebuilt, seed: int
) -> None:
    rng = random.Random(seed)
    selection = rng.sample(range(NUM_CLIPS), rng.randint(1, NUM_CLIPS))
    expected = whole.answer(vllm, [whole.pieces[i] for i in selection])
    assert_same(result_of(answer(vllm, selection)), expected)


@pytest.mark.parametrize("selection", [[0, 4, 7], list(range(NUM_CLIPS))], ids=str)
def test_clips_computed_under_a_sliding_window_equal_the_recursive_reference(
    vllm: Any, sliding: Rebuilt, selection: Sequence[int]
) -> None:
    assert_stored(vllm, "sliding", sliding.pieces)
    expected = sliding.answer(vllm, [sliding.pieces[i] for i in selection])
    assert_same(result_of(answer(vllm, selection, "sliding")), expected)


def test_a_clip_that_stands_one_place_further_would_be_noticed(vllm: Any, whole: Rebuilt) -> None:
    pieces = [whole.pieces[0], whole.pieces[4]]
    right = whole.answer(vllm, pieces)
    past = whole.past(pieces)
    past[1] = (pieces[0], whole.place(0) + 1)
    wrong = whole.reference.answer(question_ids(vllm), whole.place(2), past, NUM_TOKENS)
    assert _differ(wrong, right)


def _differ(found: Any, expected: Any) -> bool:
    """Far more than rounding explains."""
    distance = max(abs(a - b) for a, b in zip(found[1], expected[1], strict=True))
    return bool(found[0] != expected[0] or distance > 100 * TOLERANCE)


# ---- retrieval ----


def test_retrieving_all_clips_equals_no_retrieval(vllm: Any) -> None:
    output = vllm.run(retrieving(vllm, NUM_CLIPS, []), max_tokens=NUM_TOKENS, logprobs=1)
    assert all(layer == list(range(NUM_CLIPS)) for layer in picks(output))
    assert_same(result_of(output), result_of(answer(vllm, range(NUM_CLIPS))))


@pytest.mark.parametrize("score", ["mean_key", "late_interaction"])
def test_each_layer_attends_to_what_it_picked(vllm: Any, whole: Rebuilt, score: str) -> None:
    vllm.choose_by(ranking={"score": score})
    try:
        output = vllm.run(retrieving(vllm, 2, [6, 7]), max_tokens=NUM_TOKENS, logprobs=1)
    finally:
        vllm.choose_by()
    layers = picks(output)
    slots = [[whole.pieces[layer[slot]] for layer in layers] for slot in range(2)]
    expected = whole.answer(vllm, [*slots, whole.pieces[6], whole.pieces[7]])
    assert_same(result_of(output), expected)


# ---- trouble ----


def test_a_missing_segment_fails_its_request_and_no_other(vllm: Any) -> None:
    assert_a_missing_segment_fails_its_own_request(vllm)


def test_a_clip_without_pixels_never_reaches_the_vision_tower(vllm: Any) -> None:
    """The guard: vLLM's worker would fail an assertion, and take every stream with it."""
    from vllm import SamplingParams

    from onlooker.engine.vllm_adapter.gateway.features import engine_input

    prompt = engine_input(asking(vllm, [2]).build())  # loaded, but nobody is told
    vllm.engine.add_request("unguarded", prompt, SamplingParams(max_tokens=1, temperature=0))
    while not vllm.step():
        pass
    answer(vllm, [2])
