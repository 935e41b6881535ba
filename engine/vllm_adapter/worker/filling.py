"""Segments made whole: rows that were not computed are those of other segments, turned to here.

The rows of another segment stand in it as they were computed, or as they were filled themselves.
They are turned once, from where they stand there to where they stand here. The server names for
each row the segment that computed it, so that nothing is ever turned twice.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from onlooker.engine.memory.plan import SaveSpan
from onlooker.engine.vllm_adapter.worker.arena import Segment
from onlooker.engine.vllm_adapter.worker.rotary import Rotary

Taken = Callable[[Segment, Sequence[int]], tuple[torch.Tensor, torch.Tensor]]
"""A function that gives keys and values of some rows of a segment, [layers, rows, kv_heads,
head_dim] each, where those of the new segment lie."""


def filled(
    span: SaveSpan,
    sources: Sequence[Segment],
    computed: tuple[torch.Tensor, torch.Tensor],
    rotary: Rotary,
    taken: Taken,
    up: Callable[[NDArray[np.int64]], torch.Tensor] = torch.from_numpy,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of the whole segment of `span`, [layers, tokens, kv_heads, head_dim] each.

    Args:
        sources: the segments that its fillings name, in their order.
        computed: keys and values of the rows that were computed.
        up: brings numbers to where `computed` lies.
    """
    own = up(np.asarray(span.rows, np.int64))
    keys, values = (_laid(part, own, len(span.offsets[0])) for part in computed)
    for filling, source in zip(span.fillings, sources, strict=True):
        rows = up(np.asarray(filling.rows, np.int64))
        there_keys, there_values = taken(source, filling.from_rows)
        delta = span.position + filling.shift - source.base
        turned = rotary.shift(there_keys, torch.full_like(rows, delta))
        keys.index_copy_(1, rows, turned)
        values.index_copy_(1, rows, there_values)
    return keys, values


def rows_at_hand(segment: Segment, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of some rows of a segment that lies on the host."""
    chosen = torch.tensor(rows)
    return segment.keys.index_select(1, chosen), segment.values.index_select(1, chosen)


def _laid(part: torch.Tensor, rows: torch.Tensor, num_tokens: int) -> torch.Tensor:
    """What was computed, [layers, rows, kv_heads, size], in its `rows` of the whole segment of
    `num_tokens`; the others are still to be filled."""
    num_layers, _, kv_heads, size = part.shape
    return part.new_empty((num_layers, num_tokens, kv_heads, size)).index_copy_(1, rows, part)
