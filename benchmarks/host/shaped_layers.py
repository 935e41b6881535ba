"""`ShapedLayers`: attention layers of a real model's shape that only keep KV, without a model."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import torch

from onlooker.engine.vllm_adapter.seams import AttentionLayer, RotaryParameters

Layout = Literal["LBNHC", "LBHNC"]
"""How vLLM lays out the KV of all layers: by layer (L) and block (B), then by token (N) and head
(H), or by head and token; the channels (C) of a key and its value stand together."""

BLOCK_TOKENS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LayersShape:
    """What of a model decides how much KV there is to move."""

    name: str
    num_layers: int
    num_heads: int = 16
    num_kv_heads: int = 8
    head_dim: int = 128
    dtype: torch.dtype = torch.bfloat16

    @property
    def token_bytes(self) -> int:
        """Bytes of keys and values that one token takes in all layers."""
        width = self.num_kv_heads * 2 * self.head_dim
        return self.num_layers * width * torch.finfo(self.dtype).bits // 8

    @property
    def rotary(self) -> RotaryParameters:
        """Qwen3-VL's rotary embedding."""
        half = self.head_dim // 2
        inv_freq = 5_000_000.0 ** -(torch.arange(half) / half)
        return RotaryParameters(inv_freq, (24, 20, 20), is_interleaved=True, is_neox=True)


QWEN3_VL_2B = LayersShape(name="Qwen3-VL-2B", num_layers=28)
QWEN3_VL_8B = LayersShape(name="Qwen3-VL-8B", num_layers=36, num_heads=32)


class ShapedLayers:
    """The layers, with one cache for all of them as vLLM makes it on a GPU.

    Every token has random keys, values and queries, which differ from layer to layer by a number.

    Args:
        num_blocks: blocks of the cache.
        put: a function that puts a tensor where the model is; by default it is left on the host.
        device: where the cache is made, if not on the host.
    """

    def __init__(
        self,
        shape: LayersShape,
        *,
        num_blocks: int,
        layout: Layout = "LBNHC",
        put: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor,
        device: torch.device | None = None,
        seed: int = 1,
    ) -> None:
        self.shape = shape
        self._put = put
        random = torch.Generator().manual_seed(seed)
        sizes = {"query": shape.num_heads, "key": shape.num_kv_heads, "value": shape.num_kv_heads}
        self._bank = {
            name: torch.randn(
                num_blocks * BLOCK_TOKENS, count, shape.head_dim, generator=random
            ).to(shape.dtype)
            for name, count in sizes.items()
        }
        heads, width = shape.num_kv_heads, 2 * shape.head_dim
        if layout == "LBNHC":
            apart = (shape.num_layers, num_blocks, BLOCK_TOKENS, heads, width)
            cache = torch.zeros(apart, dtype=shape.dtype, device=device).transpose(2, 3)
        else:
            apart = (shape.num_layers, num_blocks, heads, BLOCK_TOKENS, width)
            cache = torch.zeros(apart, dtype=shape.dtype, device=device)
        self.cache = cache
        """All KV, [layers, blocks, kv_heads, block tokens, 2 * head_dim]."""
        self._layers = [
            SimpleNamespace(
                impl=SimpleNamespace(do_kv_cache_update=self._update, forward=lambda *_: None),
                kv_cache=put(cache[index]),
                head_size=shape.head_dim,
            )
            for index in range(shape.num_layers)
        ]
        self.seams = [
            AttentionLayer(layer, f"layer {index}") for index, layer in enumerate(self._layers)
        ]

    def tokens(self, count: int) -> dict[str, torch.Tensor]:
        """What every layer computes for `count` tokens: query, key and value. The first tokens are
        the same each time."""
        return {name: self._put(some[:count]) for name, some in self._bank.items()}

    def run(
        self,
        tokens: dict[str, torch.Tensor],
        slots: torch.Tensor,
        before_layer: Callable[[int], None] = lambda index: None,
    ) -> None:
        """One forward pass: each layer keeps the KV of `tokens` in `slots`, which lie
        where the model is, and attends."""
        query = tokens["query"]
        for index, layer in enumerate(self._layers):
            key, value = (tokens[name] + index / 8 for name in ("key", "value"))
            layer.impl.do_kv_cache_update(layer, key, value, layer.kv_cache, slots)
            before_layer(index)
            layer.impl.forward(layer, query, key, value, layer.kv_cache)

    def _update(
        self, layer: Any, key: torch.Tensor, value: torch.Tensor, cache: Any, slots: torch.Tensor
    ) -> None:
        both = torch.cat([key, value], -1)
        cache.transpose(1, 2)[slots // BLOCK_TOKENS, slots % BLOCK_TOKENS] = both
