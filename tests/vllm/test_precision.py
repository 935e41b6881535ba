"""Segments in bfloat16, and in a compiled model, give what one ordinary request gives there.

Both are how a GPU runs a model. Each is compared with vLLM itself in the same mode: what it
computes in one pass, and what comes of segments that were kept and moved. Every start of vLLM takes
a while (compiling a minute and more), so that `make test` leaves these out: `make test-slow` runs
them.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onlooker.engine.vllm_adapter.gateway.platform import set_while
from tests.vllm.conftest import MODEL
from tests.vllm.rig import (
    NUM_CLIPS,
    NUM_TOKENS,
    QUESTION,
    answer,
    asking,
    ingest,
    picks,
    result_of,
    retrieving,
    save_sink,
)

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore"),
]

BFLOAT16_TOLERANCE = 0.02
"""Log probabilities. A number of bfloat16 is right to 0.4 %. Clips that stand where they were
computed differed by nothing at all where this was measured, and clips in another order by 0.2."""

COMPILED_TOLERANCE = 1e-3
"""Log probabilities, float32: a compiled model adds in another order."""

MODES: dict[str, tuple[dict[str, Any], float]] = {
    "bfloat16": ({"dtype": "bfloat16"}, BFLOAT16_TOLERANCE),
    "compiled": ({"is_eager": False}, COMPILED_TOLERANCE),
}

Result = tuple[list[int], list[float]]


@pytest.fixture(scope="module", params=["qwen3", "qwen2.5"])
def folder(request: pytest.FixtureRequest, qwen2_5_folder: Path) -> Path:
    return qwen2_5_folder if request.param == "qwen2.5" else MODEL


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def vllm(mode: str, folder: Path) -> Iterator[Any]:
    from tests.vllm.in_process import SegmentVllm

    # Importing this has switched compiling off, as for a model that runs eagerly.
    with set_while({"TORCHDYNAMO_DISABLE": "0"}):
        engine = SegmentVllm(folder, **MODES[mode][0])
        save_sink(engine)
        for index in range(NUM_CLIPS):
            ingest(engine, index, range(index), "whole")
        yield engine
        engine.engine.engine_core.shutdown()


def gap(found: Result, expected: Result) -> float:
    """The largest difference of a log probability, up to the first token that differs: from there
    on, they go on about different texts. Two tokens that are about as likely are no difference."""
    largest = 0.0
    for token, other, chance, other_chance in zip(
        found[0], expected[0], found[1], expected[1], strict=True
    ):
        largest = max(largest, abs(chance - other_chance))
        if token != other:
            # To what the other one chose, this one gave no more than what its own choice left.
            left = math.log(-math.expm1(min(chance, -1e-9)))
            largest = max(largest, other_chance - left)
            break
    return largest


def test_the_model_runs_as_it_is_meant_to(vllm: Any, mode: str) -> None:
    import torch

    model = vllm.engine.model_config
    compilation = vllm.engine.vllm_config.compilation_config
    assert (model.dtype is torch.bfloat16) == (mode == "bfloat16")
    assert (compilation.mode.name != "NONE") == (mode == "compiled")


def test_clips_ingested_one_by_one_answer_as_one_ordinary_request(vllm: Any, mode: str) -> None:
    stock = result_of(vllm.stock(list(range(NUM_CLIPS)), QUESTION, NUM_TOKENS))
    found = result_of(answer(vllm, range(NUM_CLIPS)))
    assert gap(found, stock) <= MODES[mode][1]


def test_the_comparison_notices_clips_in_another_order(vllm: Any, mode: str) -> None:
    stock = result_of(vllm.stock(list(range(NUM_CLIPS)), QUESTION, NUM_TOKENS))
    reversed_ = result_of(answer(vllm, range(NUM_CLIPS)[::-1]))
    assert gap(reversed_, stock) > 5 * MODES[mode][1]


def test_every_layer_sees_a_question_that_chooses(vllm: Any, mode: str) -> None:
    """All clips are chosen, so that the answer is that of all clips."""
    output = vllm.run(retrieving(vllm, NUM_CLIPS, []), max_tokens=NUM_TOKENS, logprobs=1)
    assert all(layer == list(range(NUM_CLIPS)) for layer in picks(output))
    assert len(picks(output)) == len(vllm.worker._layers)
    expected = result_of(answer(vllm, range(NUM_CLIPS)))
    assert gap(result_of(output), expected) <= MODES[mode][1]


def test_a_clip_that_was_moved_is_not_worn(vllm: Any, mode: str) -> None:
    """What is stored is turned from where it was computed, however often it was placed before."""
    first = result_of(answer(vllm, [3, 5]))
    for _ in range(5):
        vllm.run(asking(vllm, [0, 1, 2, 3, 5]))
    assert result_of(answer(vllm, [3, 5])) == first


def test_everything_that_is_kept_has_the_models_format(vllm: Any, mode: str) -> None:
    segment = vllm.arena.get("whole/3")
    (group,) = vllm.arena.index.groups(["whole/3"])
    kept = [segment.keys, segment.values, segment.plain_keys, group.entries(0)]
    assert {one.dtype for one in kept} == {vllm.engine.model_config.dtype}
