"""Quick pictures: what vLLM's vision tower does on a CPU clip by clip, done for a whole step.

The clips of live streams are small and mostly of one size, and many streams share a step. The tower
attends within one picture after the other, and works out for each of them what its patches' places
add, though that is the same for all of a size. For small pictures both cost as much as the
multiplications.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch

from onlooker.engine.vllm_adapter import seams
from onlooker.engine.vllm_adapter.seams import CpuKernels

Grid = tuple[int, ...]
"""Patches of a clip in time, height and width."""

MAX_GRIDS = 8
"""Sizes of clips whose places are remembered."""

MAX_PATCHES = 4096
"""The most patches of a clip whose places are remembered, which is some megabytes a size."""


def quicken_pictures(model: Any, kernels: CpuKernels) -> None:
    """Have the vision tower of `model` do for a whole step what it would do clip by clip."""
    for attention in seams.picture_attentions(model):
        seams.replace_forward(attention, PictureAttention(attention))
    turning = seams.picture_rotaries(model)
    if turning:
        rotary = PictureRotary(turning[0], kernels)
        for operation in turning:
            seams.replace_forward(operation, rotary)
    seams.replace_picture_places(model, PicturePlaces)


class PictureAttention:
    """Attention within pictures: within all of a step at once where they are of one size."""

    def __init__(self, attention: Any) -> None:
        self._slow = seams.forward_of(attention)

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        cu_seqlens: torch.Tensor | None = None,
        max_seqlen: torch.Tensor | None = None,
        sequence_lengths: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """`query`, `key`, `value`: [1, patches, heads, head_dim]; `cu_seqlens`: where each picture
        begins, and the end. Gives what `query` is like."""
        count = 0 if cu_seqlens is None or query.dim() != 4 else _num_alike(cu_seqlens)
        if not count:
            return self._attend(query, key, value, cu_seqlens, max_seqlen, sequence_lengths)
        each = [x.reshape(count, -1, *x.shape[2:]) for x in (query, key, value)]
        return self._attend(*each).reshape(query.shape)

    def _attend(self, *args: torch.Tensor | None) -> torch.Tensor:
        found: torch.Tensor = self._slow(*args)
        return found


class PictureRotary:
    """The rotary embedding of a vision tower's layers, with one table for all layers of a step.

    vLLM hands the same cosines and sines to all layers of a step, and a copy of queries and keys
    that nobody else has.
    """

    def __init__(self, operation: Any, kernels: CpuKernels) -> None:
        self._slow = seams.forward_of(operation)
        self._rotate = kernels.rotate
        self._cosines: torch.Tensor | None = None
        self._table = self._rows = torch.empty(0)

    def __call__(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """Turn `x`, [queries and keys, patches, heads, head_dim], in place. `cos`, `sin`: [patches,
        head_dim / 2]."""
        is_plain = x.dtype == cos.dtype == torch.float32 and x.is_contiguous()
        if x.dim() != 4 or len(x) != 2 or 2 * cos.shape[-1] != x.shape[-1] or not is_plain:
            found: torch.Tensor = self._slow(x, cos, sin)
            return found
        if cos is not self._cosines:
            self._table, self._rows = torch.cat([cos, sin], -1), torch.arange(len(cos))
            self._cosines = cos
        query, key = x.flatten(2)
        self._rotate(self._rows, query, key, x.shape[-1], self._table)
        return x


class PicturePlaces:
    """What the places of clips' patches add to them, worked out once for each size.

    Args:
        work_out: a function that does it for clips of some grids, one after the other: [patches of
            all, hidden size].
    """

    def __init__(self, work_out: Callable[[Sequence[Sequence[int]]], torch.Tensor]) -> None:
        self._work_out = work_out
        self._known = lru_cache(MAX_GRIDS)(self._of)

    def __call__(self, grids: Sequence[Sequence[int]]) -> torch.Tensor:
        if any(time * height * width > MAX_PATCHES for time, height, width in grids):
            return self._work_out(grids)
        return torch.cat([self._known(tuple(grid)) for grid in grids])

    def _of(self, grid: Grid) -> torch.Tensor:
        return self._work_out([grid])


def _num_alike(cu_seqlens: torch.Tensor) -> int:
    """How many pictures there are, if there are several and all of one size; else 0."""
    sizes = cu_seqlens.diff()
    alike = len(sizes) > 1 and bool((sizes == sizes[0]).all())
    return len(sizes) if alike else 0
