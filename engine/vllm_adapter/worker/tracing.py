"""Tracing: what every score of every layer says, to calibrate a model.

Not for serving: it reads all candidates.
"""

from collections.abc import Sequence

import torch

from onlooker.engine.memory.ranking import LayerTrace, ScoreName
from onlooker.engine.vllm_adapter.worker.arena import SegmentArena
from onlooker.engine.vllm_adapter.worker.rotary import Rotary
from onlooker.engine.vllm_adapter.worker.scores import SCORES, compared


def traced(
    arena: SegmentArena, keys: Sequence[str], layer: int, queries: torch.Tensor, rotary: Rotary
) -> LayerTrace:
    """All scores of one layer; none where a segment is gone. The arena's own score goes by its
    index, the others by the segments' keys."""
    segments = arena.get_all(keys)
    if segments is None:
        return {}
    found_keys = (one.plain_in(layer, rotary) for one in segments)
    plain = [keys for keys in found_keys if keys is not None]
    found: dict[ScoreName, torch.Tensor] = {}
    for name, score in SCORES.items():
        if score is not arena.score:
            found[name] = compared(score, queries, plain)
    own = next(name for name, score in SCORES.items() if score is arena.score)
    found[own] = torch.empty(len(keys))
    for group in arena.index.groups(keys):
        entries = group.entries(layer)
        found[own][group.members] = arena.score.compare(queries.to(entries.device), entries).cpu()
    return {name: scores.tolist() for name, scores in found.items()}
