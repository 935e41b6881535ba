"""Tracing: what every score of every layer says, to calibrate a model.

Not for serving: it reads all candidates.
"""

from collections.abc import Sequence

import torch

from onlooker.engine.memory.ranking import LayerTrace, ScoreName
from onlooker.engine.vllm_adapter.worker.arena import SegmentArena
from onlooker.engine.vllm_adapter.worker.head_group import ALONE, HeadGroup
from onlooker.engine.vllm_adapter.worker.rotary import Rotary
from onlooker.engine.vllm_adapter.worker.scores import SCORES, assembled, compared


def traced(
    arena: SegmentArena,
    keys: Sequence[str],
    layer: int,
    queries: torch.Tensor,
    rotary: Rotary,
    heads: HeadGroup = ALONE,
) -> LayerTrace:
    """All scores of one layer; none where a segment is gone. The arena's own score goes by its
    index where that keeps the layer, the others by the segments' keys."""
    segments = arena.get_all(keys)
    (is_there,) = heads.all([segments is not None])
    if segments is None or not is_there:
        return {}
    found_keys = (one.plain_in(layer, rotary) for one in segments)
    plain = [keys for keys in found_keys if keys is not None]
    found: dict[ScoreName, torch.Tensor] = {}
    is_kept = arena.index.layers is None or layer in arena.index.layers
    for name, score in SCORES.items():
        if score is not arena.score or not is_kept:
            found[name] = compared(score, queries, plain, heads)
    if not is_kept:
        return {name: scores.tolist() for name, scores in found.items()}
    own = next(name for name, score in SCORES.items() if score is arena.score)
    parts = []
    for group in arena.index.groups(keys):
        entries = group.entries(layer)
        parts.append((group.members, arena.score.parts(queries.to(entries.device), entries).cpu()))
    found[own] = assembled(parts, len(keys), heads)
    return {name: scores.tolist() for name, scores in found.items()}
