"""Model classes for prompts of segments: positions that come with the prompt, and a crash guard.

The places of a prompt's tokens are composed with it: features of every loaded clip would only be
there to compute them again.

The guard: a clip whose pixels are not there never reaches the vision tower. Segments stand in a
prompt as features that hold only their grid, for the positions. If one of them were scheduled for
encoding after all, vLLM's worker would fail an assertion and take every stream with it. Here it
becomes zeros, and its request fails by itself because its segment was missing.

When the model has run, the worker is told the hidden states of the step's tokens, to which the
score heads of a model are applied.

A clip that is computed without some of its places is encoded whole, and the embeddings of the
others are left out; or only the places that are computed are encoded (see `places`).

On a CPU some layers are run by other kernels (see `quick_layers`).

vLLM asks this module for a class by the name that `plugin.register` gave it; the class is made from
the family's description then.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from vllm.multimodal import MULTIMODAL_REGISTRY

from onlooker.engine.vllm_adapter import seams
from onlooker.engine.vllm_adapter.entry.places import encoded_alone, in_parts, only
from onlooker.engine.vllm_adapter.entry.quick_layers import Quickened
from onlooker.engine.vllm_adapter.families import GUARDED
from onlooker.engine.vllm_adapter.families.family import GuardedClass
from onlooker.engine.vllm_adapter.wire import (
    ENCODED_FIELD,
    GRID_FIELD,
    KEPT_FIELD,
    POSITIONS_FIELD,
)

Positions = tuple[torch.Tensor, int]
"""Rotary positions, [3, tokens] (t, h, w), and by how much the next position is ahead of the number
of tokens."""


class Guarded:
    """Stands before a model's class: takes positions as they come, and encodes only clips that come
    with pixels."""

    described: GuardedClass

    def get_mrope_input_positions(
        self, input_tokens: list[int], mm_features: list[Any]
    ) -> Positions:
        carried = _carried(input_tokens, mm_features)
        model: Any = super()
        return carried or model.get_mrope_input_positions(input_tokens, mm_features)

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        model: Any = super()
        hidden = model.forward(input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)
        connector = seams.running_connector()
        if connector is not None and isinstance(hidden, torch.Tensor):
            connector.segment_worker.reach_end(hidden)
        return hidden

    def embed_multimodal(self, **kwargs: Any) -> Any:
        model: Any = super()
        levels = self.described.num_levels(self)
        kept, alone = kwargs.pop(KEPT_FIELD, None), kwargs.pop(ENCODED_FIELD, None)
        kwargs.pop(POSITIONS_FIELD, None)
        blanks = _blanks(self, kwargs, levels)
        if alone is not None and blanks is None and self.described.encodes_places:
            return encoded_alone(self, kwargs, alone)
        places = alone if kept is None else kept
        if places is None:
            return blanks or model.embed_multimodal(**kwargs)
        return only(blanks or in_parts(model.embed_multimodal, kwargs), places)


def guarded(described: GuardedClass) -> type[Any]:
    """vLLM's model class of a family behind the guard, with its processor registered."""
    module = importlib.import_module(described.module)
    base = getattr(module, described.model)
    bases = (Quickened, Guarded, base)
    made = type(described.name, bases, {"described": described, "__module__": __name__})
    register = MULTIMODAL_REGISTRY.register_processor(
        getattr(module, described.processor),
        info=getattr(module, described.processing_info),
        dummy_inputs=getattr(module, described.dummy_inputs),
    )
    registered: type[Any] = register(made)
    return registered


def __getattr__(name: str) -> type[Any]:
    """The guarded class called `name`; made once."""
    family = GUARDED.get(name)
    if family is None or family.guarded is None:
        raise AttributeError(f"no family has a guarded class '{name}'")
    made = globals()[name] = guarded(family.guarded)
    return made


def _carried(input_tokens: list[int], mm_features: list[Any]) -> Positions | None:
    """The positions that came with a prompt, if any did.

    A request that was preempted may come again with what it has generated behind its prompt (vLLM's
    newer model runner asks so): generated tokens count on from the prompt's last place, on all
    axes.
    """
    for feature in mm_features:
        if feature.data is not None and POSITIONS_FIELD in feature.data:
            planned: torch.Tensor = feature.data[POSITIONS_FIELD].data.long()
            num_generated = len(input_tokens) - planned.shape[1]
            assert num_generated >= 0, "a prompt came without some of its tokens"
            following = int(planned.max()) + 1
            generated = torch.arange(following, following + num_generated).expand(3, -1)
            return torch.cat([planned, generated], dim=1), following - planned.shape[1]
    return None


def _blanks(model: Any, features: Mapping[str, Any], levels: int) -> list[torch.Tensor] | None:
    """Zeros for clips without pixels; None for others. `levels`: embeddings side by side."""
    grid = features.get(GRID_FIELD)
    if grid is None or features.get("pixel_values_videos") is not None:
        return None
    weight = model.language_model.model.embed_tokens.weight
    merge = model.visual.spatial_merge_size**2
    return [
        torch.zeros(
            int(item.prod()) // merge, weight.shape[1] * levels,
            dtype=weight.dtype, device=weight.device,
        )
        for item in grid
    ]  # fmt: skip
