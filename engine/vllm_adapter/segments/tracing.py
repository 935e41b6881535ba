"""Tracing: what every score of every layer says, to calibrate a model.

Not for serving: it reads all candidates.
"""

from collections.abc import Sequence

import torch

from onlooker.engine.memory.ranking import ScoreName
from onlooker.engine.vllm_adapter.segments.arena import SegmentArena
from onlooker.engine.vllm_adapter.segments.scores import SCORES

LayerTrace = dict[ScoreName, list[float]]
"""Scores of all candidates, in their order."""


def traced(
    arena: SegmentArena, keys: Sequence[str], layer: int, queries: torch.Tensor
) -> LayerTrace:
    """Scores of one layer. The arena's own score goes by its index, the others by the keys."""
    segments = arena.get_all(keys)
    if segments is None:
        return {}
    by_size: dict[int, list[int]] = {}
    for place, segment in enumerate(segments):
        by_size.setdefault(segment.num_tokens, []).append(place)
    found = {name: torch.empty(len(keys)) for name in SCORES}
    for places in by_size.values():
        plain = [segments[place].plain_keys for place in places]
        stacked = torch.stack([one[layer] for one in plain if one is not None])
        for name, score in SCORES.items():
            if score is not arena.score:
                # Entries are made layer by layer, so segments can take the place of layers.
                found[name][places] = score.compare(queries, score.entries(stacked, None))
    own = next(name for name, score in SCORES.items() if score is arena.score)
    for group in arena.index.groups(keys):
        found[own][group.members] = arena.score.compare(queries, group.entries(layer))
    return {name: scores.tolist() for name, scores in found.items()}
