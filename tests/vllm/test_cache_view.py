"""The KV cache of all layers as one tensor, on caches that vLLM itself lays out as on a GPU."""

from typing import Any

import pytest
import torch

from onlooker.engine.config import VllmSection
from onlooker.engine.vllm_adapter.gateway.platform import prepare_environment
from onlooker.engine.vllm_adapter.worker.cache_view import CacheView

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

LAYERS, BLOCKS, HEADS, BLOCK, DIM = 3, 5, 2, 16, 8


@pytest.fixture(scope="module", autouse=True)
def _environment() -> None:
    prepare_environment(VllmSection(), cpu=True, model_is_local=True)


def caches(layout: str) -> list[torch.Tensor]:
    """Views of one allocation, one for each layer, as vLLM makes them."""
    from vllm.v1.kv_cache_interface import (
        FullAttentionSpec,
        KVCacheTensor,
        create_kv_cache_views,
    )
    from vllm.v1.kv_cache_layout import KVCacheLayout

    spec = FullAttentionSpec(
        block_size=BLOCK, num_kv_heads=HEADS, head_size=DIM, dtype=torch.float32
    )
    page = spec.page_size_bytes
    is_by_block = layout.startswith("B")
    size = page * BLOCKS * LAYERS
    placed = KVCacheTensor(
        size=size,
        layers=[f"layer {index}" for index in range(LAYERS)],
        layer_stride=page if is_by_block else page * BLOCKS,
        block_stride=page * LAYERS if is_by_block else page,
    )
    raw = torch.zeros(size, dtype=torch.int8)
    views: list[torch.Tensor] = create_kv_cache_views(
        raw, spec, BLOCKS, KVCacheLayout[layout], placed
    )
    return views


def attention_view(cache: torch.Tensor) -> Any:
    """Keys and values of a layer, as FlashAttention looks at them: [blocks, block tokens, heads,
    head_dim] each."""
    return torch.split(cache.transpose(1, 2), DIM, dim=-1)


@pytest.mark.parametrize("layout", ["LBNHC", "LBHNC", "BLHNC", "BLNHC"])
def test_tokens_are_read_and_written_where_attention_has_them(layout: str) -> None:
    layers = caches(layout)
    view = CacheView.of(layers)
    assert view is not None
    kv = torch.randn(4, LAYERS, HEADS, 2 * DIM)
    slots = torch.tensor([3, 79, 16, 40])
    view.scatter(slice(0, 1), slots, kv[:, :1])
    view.scatter(slice(1, LAYERS), slots, kv[:, 1:])
    for index, cache in enumerate(layers):
        keys, values = attention_view(cache)
        for row, slot in enumerate(slots.tolist()):
            assert torch.equal(keys[slot // BLOCK, slot % BLOCK], kv[row, index, :, :DIM])
            assert torch.equal(values[slot // BLOCK, slot % BLOCK], kv[row, index, :, DIM:])
    assert torch.equal(view.gather(slots), kv)
    written = sum(int((cache != 0).any(1).any(-1).sum()) for cache in layers)
    assert written == LAYERS * len(slots), "nothing else was written"
