"""What a vision tower does for all clips of a step at once comes to what vLLM's own does clip by
clip. No engine is started."""

from typing import Any

import pytest
import torch

from onlooker.engine.config import VllmSection
from onlooker.engine.vllm_adapter import seams
from onlooker.engine.vllm_adapter.gateway.platform import prepare_environment

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

HEADS, HEAD_SIZE = 3, 32


@pytest.fixture(scope="module", autouse=True)
def _environment() -> None:
    prepare_environment(VllmSection(), cpu=True, model_is_local=True)


def made() -> tuple[Any, Any]:
    """The attention and the rotary embedding of a layer of a vision tower of vLLM's."""
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.model_executor.layers.attention.mm_encoder_attention import MMEncoderAttention
    from vllm.model_executor.layers.rotary_embedding.common import ApplyRotaryEmb

    with set_current_vllm_config(VllmConfig()):
        return MMEncoderAttention(HEADS, HEAD_SIZE), ApplyRotaryEmb(enforce_enable=True)


def counted(operation: Any) -> list[torch.Size]:
    """The shapes of the queries with which vLLM's own is called from now on."""
    shapes: list[torch.Size] = []
    own = seams.forward_of(operation)

    def forward(query: torch.Tensor, *args: Any) -> Any:
        shapes.append(query.shape)
        return own(query, *args)

    seams.replace_forward(operation, forward)
    return shapes


@pytest.mark.parametrize(
    ("sizes", "attended"),
    [
        ([6, 6, 6, 6], (4, 6)),
        ([6], (1, 6)),
        ([6, 4, 6], (1, 16)),
    ],
)
def test_pictures_of_one_size_attend_within_themselves_in_one_call(
    sizes: list[int], attended: tuple[int, int]
) -> None:
    from onlooker.engine.vllm_adapter.entry.quick_pictures import PictureAttention

    attention, _ = made()
    shapes = counted(attention)
    query, key, value = torch.randn(3, 1, sum(sizes), HEADS, HEAD_SIZE)
    bounds = torch.tensor([0, *sizes]).cumsum(0, dtype=torch.int32)
    expected = attention.forward_native(query, key, value, bounds)
    found = PictureAttention(attention)(query, key, value, bounds)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert [shape[:2] for shape in shapes] == [attended]


def test_queries_and_keys_of_patches_are_turned_alike_in_each_step() -> None:
    from onlooker.engine.vllm_adapter.entry.quick_pictures import PictureRotary

    _, rotary = made()
    quick = PictureRotary(rotary, seams.cpu_kernels())
    for num_patches in (5, 7):
        angles = torch.randn(num_patches, HEAD_SIZE // 2)
        cos, sin = angles.cos(), angles.sin()
        for _layer in range(2):
            both = torch.randn(2, num_patches, HEADS, HEAD_SIZE)
            expected = rotary.forward_native(both.clone(), cos, sin)
            torch.testing.assert_close(quick(both, cos, sin), expected, rtol=1e-6, atol=1e-6)


def test_what_the_kernel_cannot_turn_is_left_to_vllm() -> None:
    from onlooker.engine.vllm_adapter.entry.quick_pictures import PictureRotary

    _, rotary = made()
    quick = PictureRotary(rotary, seams.cpu_kernels())
    angles = torch.randn(5, HEAD_SIZE // 2)
    cos, sin = angles.cos(), angles.sin()
    both = torch.randn(2, 5, HEADS, HEAD_SIZE)
    apart = both.transpose(1, 2).contiguous().transpose(1, 2)
    for x in (both.bfloat16(), both[:1].clone(), apart):
        before = x.clone()
        assert torch.equal(quick(x, cos, sin), rotary.forward_native(before, cos, sin))
        assert torch.equal(x, before), "what is not turned in place is left as it is"


def test_places_are_worked_out_once_for_each_size() -> None:
    from onlooker.engine.vllm_adapter.entry.quick_pictures import MAX_PATCHES, PicturePlaces

    asked: list[list[tuple[int, ...]]] = []

    def work_out(grids: Any) -> torch.Tensor:
        asked.append([tuple(grid) for grid in grids])
        return torch.cat([torch.full((t * h * w, 2), float(h)) for t, h, w in grids])

    places = PicturePlaces(work_out)
    small, wide, huge = [1, 2, 4], [1, 4, 4], [1, 2, MAX_PATCHES]
    for grids in ([small, small], [wide, small], [small]):
        assert torch.equal(places(grids), work_out(grids))
        asked.pop()
    assert asked == [[tuple(small)], [tuple(wide)]]
    places([huge, small])
    assert asked[2:] == [[tuple(huge), tuple(small)]]


def test_a_tower_runs_the_quick_way_once_its_model_is_quickened() -> None:
    from onlooker.engine.vllm_adapter.entry.quick_layers import quicken
    from onlooker.engine.vllm_adapter.entry.quick_pictures import (
        PictureAttention,
        PicturePlaces,
        PictureRotary,
    )

    class Tower(torch.nn.Module):
        def fast_pos_embed_interpolate(self, grids: Any) -> torch.Tensor:
            return torch.zeros(len(grids))

    attention, rotary = made()
    tower = Tower()
    tower.attention, tower.rotary = attention, rotary
    quicken(torch.nn.ModuleDict({"visual": tower}))
    assert isinstance(seams.forward_of(attention), PictureAttention)
    assert isinstance(seams.forward_of(rotary), PictureRotary)
    assert isinstance(tower.fast_pos_embed_interpolate, PicturePlaces)
