"""Qwen2.5-VL. A token is 28 x 28 pixels, and time is told by position."""

from onlooker.engine.vllm_adapter.families.family import Family, GuardedClass

FAMILIES = (
    Family(
        architecture="Qwen2_5_VLForConditionalGeneration",
        guarded=GuardedClass(
            name="OnlookerQwen25VL",
            module="vllm.model_executor.models.qwen2_5_vl",
            model="Qwen2_5_VLForConditionalGeneration",
            processor="Qwen2_5_VLMultiModalProcessor",
            processing_info="Qwen2_5_VLProcessingInfo",
            dummy_inputs="Qwen2_5_VLDummyInputsBuilder",
        ),
        stamps_clips=False,
        frame_width=448,
        frame_height=336,
    ),
)
