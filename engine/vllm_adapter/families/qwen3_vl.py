"""Qwen3-VL and its mixture of experts. A token is 32 x 32 pixels."""

from typing import Any

from onlooker.engine.vllm_adapter.families.family import Family, GuardedClass


def _num_levels(model: Any) -> int:
    """Embeddings of a token: that of the vision tower's last layer and, with deepstack, those of
    inner layers."""
    return 1 + (model.deepstack_num_level if model.use_deepstack else 0)


FAMILIES = (
    Family(
        architecture="Qwen3VLForConditionalGeneration",
        guarded=GuardedClass(
            name="OnlookerQwen3VL",
            module="vllm.model_executor.models.qwen3_vl",
            model="Qwen3VLForConditionalGeneration",
            processor="Qwen3VLMultiModalProcessor",
            processing_info="Qwen3VLProcessingInfo",
            dummy_inputs="Qwen3VLDummyInputsBuilder",
            num_levels=_num_levels,
            encodes_places=True,
        ),
        stamps_clips=True,
        frame_width=512,
        frame_height=384,
    ),
    Family(
        architecture="Qwen3VLMoeForConditionalGeneration",
        stamps_clips=True,
        frame_width=512,
        frame_height=384,
    ),
)
