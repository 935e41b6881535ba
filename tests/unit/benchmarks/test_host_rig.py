"""How often a step makes the processor wait for a GPU, counted on one that is pretended."""

from dataclasses import replace
from typing import get_args

import pytest
import torch

from onlooker.benchmarks.host.rig import NUM_CLIPS, NUM_INGESTED, NUM_LOADED, HostRig
from onlooker.benchmarks.host.shaped_layers import LayersShape
from onlooker.engine.memory.ranking import Ranking, RetrievalPolicy, ScoreName
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


SCORES: list[ScoreName] = ["mean_key", "token_keys_8bit", "token_keys_1bit"]
FEW_LAYERS = replace(SHAPE, num_layers=4)

POLICIES = {
    score: RetrievalPolicy(ranking=Ranking(score=score)) for score in get_args(ScoreName)
} | {
    "layers that vote, and no others kept": RetrievalPolicy(
        ranking=Ranking(voting_layers=(0, 2)), probes=True
    ),
    "layers that vote": RetrievalPolicy(ranking=Ranking(voting_layers=(0, 2))),
    "mass": RetrievalPolicy(mass=0.5),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_nobody_waits_more_for_any_way_to_rank(policy: str) -> None:
    rig = HostRig(FEW_LAYERS, "strided", is_pretended=True, policy=POLICIES[policy])
    found = [rig.ingest(range(NUM_INGESTED)).num_waits]
    if not POLICIES[policy].probes:
        found.append(rig.answer(1).num_waits)
    rig.close()
    assert found == [0, 1][: len(found)]


def test_many_clips_take_as_few_operations_as_one_but_for_their_index_entries() -> None:
    rig = HostRig(replace(FEW_LAYERS, head_dim=64), "strided", is_pretended=True)
    many, one = (rig.ingest(range(count)).launches for count in (NUM_INGESTED, 1))
    rig.close()
    assert many - one <= NUM_INGESTED + 1


def test_an_answer_takes_few_operations_in_each_layer() -> None:
    rigs = [HostRig(replace(SHAPE, num_layers=n), "strided", is_pretended=True) for n in (12, 24)]
    few, many = (rig.answer(1).launches - rig.decode().launches for rig in rigs)
    for rig in rigs:
        rig.close()
    assert many - few <= 26 * 12, "a GPU takes longer to be given one than to do it"


@pytest.mark.parametrize("score", SCORES)
def test_an_index_that_is_larger_than_the_device_makes_nobody_wait_more(score: ScoreName) -> None:
    policy = RetrievalPolicy(ranking=Ranking(score=score))
    wide = replace(SHAPE, num_layers=12, head_dim=64)
    rig = HostRig(wide, "strided", is_pretended=True, policy=policy, rows_here=17)
    # The last clips are seen again, so that the entries of those that may be chosen go below.
    again = range(NUM_CLIPS - NUM_LOADED, NUM_CLIPS)
    found = [rig.ingest(again).num_waits, rig.answer(1).num_waits]
    moves = rig.worker.moves()
    rig.close()
    assert found == [0, 1]
    assert (moves["index_sunk"] >= NUM_CLIPS - 17, moves["index_over"]) == (True, 0)


def test_a_step_that_saves_what_the_pool_has_no_room_for_does_not_wait() -> None:
    rig = HostRig(SHAPE, "strided", is_pretended=True, has_room=False)
    clips = range(NUM_CLIPS, NUM_CLIPS + NUM_INGESTED)
    found = rig.ingest(clips)
    moves = rig.worker.moves()
    rig.close()
    assert (len(found.report.saved), found.num_waits) == (NUM_INGESTED, 0)
    assert (moves["unpooled"], moves["ring_waited"]) == (NUM_INGESTED, 0)


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
