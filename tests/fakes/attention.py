"""Attention layers that only keep KV: a model for the worker, without a model."""

from types import SimpleNamespace
from typing import Any

import torch

from onlooker.engine.vllm_adapter.seams import AttentionLayer, RotaryParameters

HEADS = 2
DIM = 4
SLOTS = 256


class FakeAttention:
    """Some layers of vLLM's, whose cache is [2, slots, heads, head_dim]. The same tokens give the
    same queries, keys and values each time.

    A graph that is replayed does a layer's work without its Python: see `step`.
    """

    def __init__(self, num_layers: int = 3) -> None:
        self.caches = [torch.zeros(2, SLOTS, HEADS, DIM) for _ in range(num_layers)]
        self._layers = [
            SimpleNamespace(
                impl=SimpleNamespace(do_kv_cache_update=_update, forward=lambda *_: None),
                kv_cache=cache,
                head_size=DIM,
            )
            for cache in self.caches
        ]
        self.seams = [AttentionLayer(layer) for layer in self._layers]

    def step(self, slots: list[int], *, padded: int = 0, replayed: set[int] | None = None) -> None:
        """Compute the tokens of these KV slots in all layers.

        Args:
            padded: rows without a token that stand behind them, as a captured graph needs.
            replayed: layers past whose hooks a graph goes.
        """
        mapping = torch.tensor([*slots, *[-1] * padded])
        for index, layer in enumerate(self._layers):
            query, key, value = (rows_of(index, mapping, kind) for kind in range(3))
            if index in (replayed or ()):
                _update(layer, key, value, layer.kv_cache, mapping)
            else:
                layer.impl.do_kv_cache_update(layer, key, value, layer.kv_cache, mapping)
                layer.impl.forward(layer, query, key, value, layer.kv_cache)


def rows_of(layer: int, slots: torch.Tensor, kind: int) -> torch.Tensor:
    """What a layer computes for the tokens of these slots, [tokens, heads, head_dim]; `kind`: 0 for
    queries, 1 for keys, 2 for values."""
    numbers = torch.arange(HEADS * DIM).view(HEADS, DIM)
    return torch.sin(slots.view(-1, 1, 1) * (kind + 1.0) + numbers * 0.7 + layer)


def _update(
    layer: Any, key: torch.Tensor, value: torch.Tensor, cache: torch.Tensor, slots: torch.Tensor
) -> None:
    written = slots >= 0
    cache[0, slots[written]] = key[written]
    cache[1, slots[written]] = value[written]


def make_rotary() -> RotaryParameters:
    return RotaryParameters(torch.tensor([1.0, 0.1]), None, False, True)
