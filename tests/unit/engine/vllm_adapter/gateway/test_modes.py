"""Ways of running a model that stream memory cannot go with."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from onlooker.core.errors import ConfigError
from onlooker.engine.config import VllmSection
from onlooker.engine.vllm_adapter.gateway.modes import check_modes, mover_of, refused
from onlooker.engine.vllm_adapter.seams import EngineModes

DEFAULT = EngineModes(
    mixed_graph="PIECEWISE",
    partitions_graph=False,
    breaks_graph=False,
    captures_encoder=False,
    has_drafts=False,
    overlaps_batches=False,
    cache_dtype="auto",
    num_pipeline_parts=1,
    num_copies=1,
)
"""vLLM's own choice on a GPU."""


@pytest.mark.parametrize("graph", ["PIECEWISE", "NONE"])
@pytest.mark.parametrize("cache_dtype", ["auto", "bfloat16"])
def test_what_vllm_does_by_itself_is_taken(graph: str, cache_dtype: str) -> None:
    check_modes(replace(DEFAULT, mixed_graph=graph, cache_dtype=cache_dtype))


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("cudagraph_mode=FULL", {"mixed_graph": "FULL"}),
        ("use_inductor_graph_partition", {"partitions_graph": True}),
        ("VLLM_USE_BREAKABLE_CUDAGRAPH", {"breaks_graph": True}),
        ("cudagraph_mm_encoder", {"captures_encoder": True}),
        ("speculative_config", {"has_drafts": True}),
        ("enable_dbo", {"overlaps_batches": True}),
        ("kv_cache_dtype=fp8", {"cache_dtype": "fp8"}),
        ("pipeline_parallel_size=2 leaves each GPU", {"num_pipeline_parts": 2}),
        ("data_parallel_size=2 .* a fleet", {"num_copies": 2}),
    ],
)
def test_what_would_lose_memory_without_a_word_is_refused_by_name(
    name: str, changed: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=name):
        check_modes(replace(DEFAULT, **changed))
    assert len(refused(replace(DEFAULT, **changed))) == 1


def test_all_that_is_in_the_way_is_told_at_once() -> None:
    modes = replace(DEFAULT, has_drafts=True, cache_dtype="fp8_e4m3")
    with pytest.raises(ConfigError, match=r"speculative_config.*kv_cache_dtype=fp8_e4m3"):
        check_modes(modes)


def test_kv_is_moved_as_suits_the_machine() -> None:
    assert mover_of(VllmSection(), cpu=True) == "layers"
    assert mover_of(VllmSection(), cpu=False) == "strided"
    assert mover_of(VllmSection(kv_mover="layers"), cpu=False) == "layers"


def test_a_cpu_cannot_move_kv_in_all_layers_at_once() -> None:
    with pytest.raises(ConfigError, match="leave it at 'auto'"):
        mover_of(VllmSection(kv_mover="strided"), cpu=True)


@pytest.mark.parametrize(
    ("name", "told"),
    [("pipeline_parallel_size", "split the heads instead"), ("data_parallel_size", "a fleet")],
)
def test_vllms_other_ways_to_use_several_gpus_are_refused_as_settings(name: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        VllmSection.model_validate({name: 2})
