"""Embeddings of some places of clips: chosen among all, or encoded alone.

Encoded alone, a place does not see those that are left out. It keeps its own position in the
picture: what the vision tower adds for the position of a patch is made for the whole picture, and
the patches of other places are taken out before the first layer.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from onlooker.engine.vllm_adapter.wire import GRID_FIELD

PIXELS_FIELD = "pixel_values_videos"

MAX_PATCHES = 16384
"""Patches that the vision tower gets at once where only some places of clips are computed: those of
4,096 tokens, which is what a step has by default."""

_BY_PATCH = ("pos_embeds", "rotary_pos_emb_cos", "rotary_pos_emb_sin")
"""What a vision tower's description of a batch says of each patch; the rest is about lengths."""


def only(embedded: Sequence[torch.Tensor], places: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Of each clip's embeddings, [places, width], those of some places. Numbers past the last place
    get zeros: an exception would end the engine for everybody."""
    return [_of(*one) for one in zip(embedded, places, strict=True)]


def in_parts(
    embed: Callable[..., Sequence[torch.Tensor]],
    features: Mapping[str, Any],
    *,
    max_patches: int = MAX_PATCHES,
) -> list[torch.Tensor]:
    """Embeddings of clips, of no more than `max_patches` at a time, or one clip.

    vLLM counts the places that are computed, and puts as many clips into a step as its memory was
    measured for; but the vision tower gets all places of them.

    Args:
        embed: a function that embeds clips of some `features`.
        features: pixels as rows of one patch each, and one entry for each clip in all else.
    """
    sizes: list[int] = features[GRID_FIELD].prod(-1).tolist()
    found: list[torch.Tensor] = []
    first = row = 0
    while first < len(sizes):
        last, count = first + 1, sizes[first]
        while last < len(sizes) and count + sizes[last] <= max_patches:
            count += sizes[last]
            last += 1
        part = {name: values[first:last] for name, values in features.items()}
        part[PIXELS_FIELD] = features[PIXELS_FIELD][row : row + count]
        found += embed(**part)
        first, row = last, row + count
    return found


def encoded_alone(
    model: Any, features: Mapping[str, Any], places: Sequence[torch.Tensor]
) -> Sequence[torch.Tensor]:
    """Embeddings of some places of each clip, for a model of Qwen3-VL's make.

    Args:
        features: the clips' pixels as rows of one patch each, the patches of one place after each
            other, and their grids.
        places: numbers of the places of each clip, ascending.
    """
    visual = model.visual
    per_place = visual.spatial_merge_size**2
    grids = [[int(side) for side in grid] for grid in features[GRID_FIELD].tolist()]
    sizes = [time * height * width // per_place for time, height, width in grids]
    chosen = [
        one.flatten().long().clamp(max=size - 1) for one, size in zip(places, sizes, strict=True)
    ]
    firsts = torch.tensor([0, *sizes]).cumsum(0)
    every = torch.cat([one + first for one, first in zip(chosen, firsts[:-1], strict=True)])
    pixels = features[PIXELS_FIELD]
    rows = (every[:, None] * per_place + torch.arange(per_place)).flatten().to(pixels.device)
    whole = visual.prepare_encoder_metadata(grids)
    side = visual.spatial_merge_size
    told = visual.prepare_encoder_metadata([[1, side, side * len(one)] for one in chosen])
    there = rows.to(visual.device)
    told.update({name: whole[name].index_select(0, there) for name in _BY_PATCH})
    embedded: torch.Tensor = visual(pixels.index_select(0, rows), None, encoder_metadata=told)
    return embedded.split([len(one) for one in chosen])


def _of(embedded: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    chosen = places.flatten().long()
    last = len(embedded) - 1
    found = embedded.index_select(0, chosen.clamp(max=last).to(embedded.device))
    if int(chosen.max()) > last:
        found[(chosen > last).to(embedded.device)] = 0
    return found
