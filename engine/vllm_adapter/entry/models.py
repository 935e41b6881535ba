"""Model classes for prompts of segments: positions that come with the prompt, and a crash guard.

The places of a prompt's tokens are composed with it (`composer.POSITIONS_FIELD`): features of every
loaded clip would only be there to compute them again.

The guard: a clip whose pixels are not there never reaches the vision tower.

Segments stand in a prompt as features that hold only their grid, for the positions. If one of them
were scheduled for encoding after all, vLLM's worker would fail an assertion and take every stream
with it. Here it becomes zeros, and its request fails by itself because its segment was missing.
"""

from collections.abc import Mapping
from typing import Any

import torch
from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.model_executor.models.qwen3_vl import (
    Qwen3VLDummyInputsBuilder,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMultiModalProcessor,
    Qwen3VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.inputs import MultiModalFeatureSpec

from onlooker.engine.vllm_adapter.gateway.composer import GRID_FIELD, POSITIONS_FIELD

Positions = tuple[torch.Tensor, int]
"""[3, tokens], and by how much the next position is ahead of the number of tokens."""


class Guarded:
    """Stands before a model's class: takes positions as they come, and encodes only clips that come
    with pixels."""

    @property
    def num_levels(self) -> int:
        """Embeddings of a token that the vision tower puts side by side."""
        return 1

    def get_mrope_input_positions(
        self, input_tokens: list[int], mm_features: list[MultiModalFeatureSpec]
    ) -> Positions:
        carried = _carried(input_tokens, mm_features)
        model: Any = super()
        return carried or model.get_mrope_input_positions(input_tokens, mm_features)

    def embed_multimodal(self, **kwargs: Any) -> Any:
        model: Any = super()
        return _blanks(self, kwargs, self.num_levels) or model.embed_multimodal(**kwargs)


@MULTIMODAL_REGISTRY.register_processor(
    Qwen3VLMultiModalProcessor,
    info=Qwen3VLProcessingInfo,
    dummy_inputs=Qwen3VLDummyInputsBuilder,
)
class GuardedQwen3VL(Guarded, Qwen3VLForConditionalGeneration):
    """Qwen3-VL for prompts of segments."""

    @property
    def num_levels(self) -> int:
        return 1 + (self.deepstack_num_level if self.use_deepstack else 0)


@MULTIMODAL_REGISTRY.register_processor(
    Qwen2_5_VLMultiModalProcessor,
    info=Qwen2_5_VLProcessingInfo,
    dummy_inputs=Qwen2_5_VLDummyInputsBuilder,
)
class GuardedQwen25VL(Guarded, Qwen2_5_VLForConditionalGeneration):
    """Qwen2.5-VL for prompts of segments."""


def _carried(input_tokens: list[int], mm_features: list[MultiModalFeatureSpec]) -> Positions | None:
    """The positions that came with a prompt, if any did."""
    for feature in mm_features:
        if feature.data is not None and POSITIONS_FIELD in feature.data:
            positions: torch.Tensor = feature.data[POSITIONS_FIELD].data.long()
            assert positions.shape == (3, len(input_tokens))
            return positions, int(positions.max()) + 1 - len(input_tokens)
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
