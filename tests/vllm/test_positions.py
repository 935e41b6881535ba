"""Positions that travel with a prompt, as each of vLLM's two model runners asks for them.

The older runner asks for a prompt's positions, and counts on for what is generated. The newer one,
which is the default on a GPU, takes a request that was preempted for a new one: it asks for the
positions of the prompt and of all that was generated before. No engine is started here.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onlooker.engine.config import VllmSection
from onlooker.engine.memory.prompt import PromptBuilder
from onlooker.engine.vllm_adapter import seams
from onlooker.engine.vllm_adapter.gateway.platform import prepare_environment
from onlooker.engine.vllm_adapter.wire import POSITIONS_FIELD
from tests.fakes.memory import make_tokens

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

PROMPT = np.array(
    [
        [0, 1, 2, 2, 2, 2, 4, 5],
        [0, 1, 2, 2, 3, 3, 4, 5],
        [0, 1, 2, 3, 2, 3, 4, 5],
    ],
    np.int32,
)
"""Two words, a picture of 2 x 2 tokens, two words: [3, 8]."""

NUM_GENERATED = 5


@pytest.fixture(scope="module", autouse=True)
def _environment() -> None:
    prepare_environment(VllmSection(), cpu=True, model_is_local=True)


def asked_for(num_tokens: int) -> tuple[NDArray[np.int64], int]:
    """What the guarded model answers for a prompt of `num_tokens`, the first 8 of them planned."""
    import torch

    from onlooker.engine.vllm_adapter.entry.models import Guarded

    features = seams.features_without_pixels({POSITIONS_FIELD: torch.from_numpy(PROMPT)})
    positions, delta = Guarded().get_mrope_input_positions(
        list(range(num_tokens)), [SimpleNamespace(data=features)]
    )
    return positions.numpy(), delta


def counted_on(delta: int) -> NDArray[np.int64]:
    """Where the older runner places what is generated after the prompt, [3, generated]."""
    from vllm.model_executor.layers.rotary_embedding import MRotaryEmbedding

    found = np.zeros((3, NUM_GENERATED), np.int64)
    MRotaryEmbedding.get_next_input_positions_tensor(
        found, 0, delta, PROMPT.shape[1], NUM_GENERATED
    )
    return found


def staged(num_tokens: int) -> tuple[NDArray[np.int64], int]:
    """What the newer runner writes down for a request that comes (again) with `num_tokens`."""
    import torch
    from vllm.v1.worker.gpu.mm.rope import RopeState

    from onlooker.engine.vllm_adapter.entry.models import Guarded

    features = seams.features_without_pixels({POSITIONS_FIELD: torch.from_numpy(PROMPT)})
    rows: dict[int, list[int]] = {}
    state: Any = SimpleNamespace(
        num_dims=3,
        prefill_delta=SimpleNamespace(np=np.zeros(1, np.int64)),
        prefill_positions=SimpleNamespace(
            stage_write=lambda row, start, values: rows.update({row: values})
        ),
    )
    RopeState.init_prefill_positions(
        state,
        0,
        Guarded(),
        list(range(num_tokens)),
        [SimpleNamespace(data=features)],
    )
    return np.array([rows[axis] for axis in range(3)]), int(state.prefill_delta.np[0])


def test_a_prompt_has_the_positions_that_came_with_it() -> None:
    positions, delta = asked_for(PROMPT.shape[1])
    assert positions.tolist() == PROMPT.tolist()
    assert delta == 6 - 8, "six places are taken by eight tokens"


def test_what_was_generated_before_a_preemption_follows_the_prompt() -> None:
    positions, delta = asked_for(PROMPT.shape[1] + NUM_GENERATED)
    assert positions[:, : PROMPT.shape[1]].tolist() == PROMPT.tolist()
    assert positions[:, PROMPT.shape[1] :].tolist() == [[6, 7, 8, 9, 10]] * 3
    assert delta == 6 - 8, "and so does what is generated after it"


def test_both_runners_place_generated_tokens_alike() -> None:
    _, delta = asked_for(PROMPT.shape[1])
    positions, staged_delta = staged(PROMPT.shape[1] + NUM_GENERATED)
    assert positions[:, PROMPT.shape[1] :].tolist() == counted_on(delta).tolist()
    assert staged_delta == delta


@pytest.mark.parametrize(
    ("num_loaded", "num_computed", "carriers"),
    [(2, 1, [True]), (2, 2, [True, False]), (2, 0, [True]), (0, 1, [False]), (0, 0, [])],
)
def test_one_clip_brings_the_places_of_all_along(
    num_loaded: int, num_computed: int, carriers: list[bool]
) -> None:
    """Clips that are loaded are no features of vLLM's, but for one where nothing is computed: each
    takes time on its way to the engine."""
    from onlooker.engine.vllm_adapter.gateway.features import engine_input

    builder = PromptBuilder("salt")
    builder.load_text("s/sink/1", [7, 8, 9])
    for number in range(num_loaded):
        builder.load_clip(make_tokens(f"s/clip/{number}", num_tokens=4))
    for number in range(num_computed):
        pixels = seams.features_without_pixels({"pixel_values_videos": number})
        builder.picture(make_tokens(f"s/picture/{number}", num_tokens=4), pixels)
    builder.question([5])
    prompt = builder.build()
    found = engine_input(prompt)
    features = found["mm_kwargs"]["video"] if carriers else []
    assert [POSITIONS_FIELD in one for one in features] == carriers
    assert sum("pixel_values_videos" in one for one in features) == num_computed
    if any(carriers):
        brought = seams.feature_data(features[0], POSITIONS_FIELD)
        assert prompt.positions is not None
        assert brought.tolist() == prompt.positions.tolist()
        assert prompt.positions.shape == (3, len(prompt.token_ids))
