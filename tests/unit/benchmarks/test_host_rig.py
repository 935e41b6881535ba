"""How often a step makes the processor wait for a GPU, counted on one that is pretended."""

import pytest
import torch

from onlooker.benchmarks.host.rig import NUM_INGESTED, HostRig
from onlooker.benchmarks.host.shaped_layers import LayersShape
from onlooker.engine.vllm_adapter.wire import Mover

SHAPE = LayersShape(
    name="thin", num_layers=36, num_heads=4, num_kv_heads=2, head_dim=8, dtype=torch.bfloat16
)
"""As many layers as a model of 8 billion parameters has, with little in them."""


def waits(mover: Mover) -> dict[str, int]:
    rig = HostRig(SHAPE, mover, is_pretended=True)
    found = {
        "decode": rig.decode().num_waits,
        "ingest": rig.ingest(range(NUM_INGESTED)).num_waits,
        "answer": rig.answer(1).num_waits,
        "two answers": rig.answer(2).num_waits,
    }
    rig.close()
    return found


def test_in_all_layers_at_once_only_a_step_that_retrieves_waits_and_once() -> None:
    assert waits("strided") == {"decode": 0, "ingest": 0, "answer": 1, "two answers": 1}


def test_layer_by_layer_every_layer_waits() -> None:
    found = waits("layers")
    assert found.pop("decode") == 0
    assert all(number >= 2 * SHAPE.num_layers for number in found.values()), found


@pytest.mark.parametrize("mover", ["layers", "strided"])
def test_what_it_counts_is_done(mover: Mover) -> None:
    rig = HostRig(SHAPE, mover, is_pretended=True)
    assert len(rig.ingest(range(NUM_INGESTED)).report.saved) == NUM_INGESTED
    picked = rig.answer(2).report.picked
    assert {name: len(layers) for name, layers in picked.items()} == {
        "answer 0": SHAPE.num_layers,
        "answer 1": SHAPE.num_layers,
    }
    rig.close()
