"""Quick layers: what vLLM computes slowly on a CPU, done by its own kernels instead.

vLLM means models on a CPU to be compiled, and writes rotary embeddings and norms as many small
operations for the compiler to join. Where nothing is compiled each of them is run by itself, and
the places of a step's tokens are looked up again in every layer. For a small model, or few tokens
in a step, that costs as much as the multiplications.
"""

from typing import Any

import torch

from onlooker.engine.vllm_adapter import seams
from onlooker.engine.vllm_adapter.entry.quick_pictures import quicken_pictures
from onlooker.engine.vllm_adapter.seams import CpuKernels


class Quickened:
    """Stands before a model's class: the model that is made has quick layers where it runs on a CPU
    as it is written."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        model: Any = super()
        model.__init__(vllm_config=vllm_config, prefix=prefix)
        if seams.runs_as_written(vllm_config):
            quicken(self)


def quicken(model: Any) -> None:
    """Have the language model's layers in float32 use vLLM's kernels, and the vision tower work on
    all clips of a step at once; leaves all else as it is."""
    kernels = seams.cpu_kernels()
    for rope in seams.rotary_modules(model):
        seams.replace_forward(rope, StepRotary(rope, kernels))
    for norm in seams.norm_modules(model):
        if norm.weight.dtype == torch.float32:
            seams.replace_forward(norm, QuickNorm(norm, kernels))
    quicken_pictures(model, kernels)


class StepRotary:
    """A rotary embedding with several axes, which looks up the places of a step's tokens once.

    vLLM hands the same tensor of positions to all layers of a step, and another one to the next.
    """

    def __init__(self, rope: Any, kernels: CpuKernels) -> None:
        self._slow = seams.forward_of(rope)
        self._kernels = kernels
        self._cache: torch.Tensor = rope.cos_sin_cache
        self._head_size = int(rope.head_size)
        self._axis = _axes(rope)
        self._positions: torch.Tensor | None = None
        self._table = self._rows = torch.empty(0)

    def __call__(
        self, positions: torch.Tensor, query: torch.Tensor, key: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Turn `query` and `key`, [tokens, heads * head_dim], in place. `positions`: [3, tokens]
        (t, h, w)."""
        is_plain = query.dtype == self._cache.dtype == torch.float32
        if key is None or positions.ndim != 2 or not is_plain:
            found: tuple[torch.Tensor, torch.Tensor | None] = self._slow(positions, query, key)
            return found
        if positions is not self._positions:
            self._look_up(positions)
        self._kernels.rotate(self._rows, query, key, self._head_size, self._table)
        return query, key

    def _look_up(self, positions: torch.Tensor) -> None:
        both = self._cache[positions]  # [3, tokens, cosines and sines of all frequencies]
        self._table = both.gather(0, self._axis.expand(1, both.shape[1], -1))[0]
        self._rows = torch.arange(positions.shape[1])
        self._positions = positions


class QuickNorm:
    """A root mean square norm, alone or after an addition to what goes past the layers."""

    def __init__(self, norm: Any, kernels: CpuKernels) -> None:
        self._slow = seams.forward_of(norm)
        self._kernels = kernels
        self._weight: torch.Tensor = norm.weight.data
        self._epsilon = float(norm.variance_epsilon)

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> Any:
        if x.dtype != torch.float32:
            return self._slow(x, residual)
        x = x.contiguous()  # heads that were split off lie apart
        if residual is None:
            return self._kernels.normalised(x, self._weight, self._epsilon)
        self._kernels.add_and_normalise(x, residual, self._weight, self._epsilon)
        return x, residual


def _axes(rope: Any) -> torch.Tensor:
    """Which of the three position axes turns each frequency, once for the cosines and once for the
    sines."""
    sections = list(rope.mrope_section)
    axis = torch.repeat_interleave(torch.arange(3), torch.tensor(sections))
    if rope.mrope_interleaved:
        channel = torch.arange(sum(sections))
        axis = torch.zeros_like(channel)
        for number in (1, 2):
            axis[(channel % 3 == number) & (channel < 3 * sections[number])] = number
    return torch.cat([axis, axis])
