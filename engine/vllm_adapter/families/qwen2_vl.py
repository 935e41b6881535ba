"""Qwen2-VL, served without stream memory. A token is 28 x 28 pixels."""

from onlooker.engine.vllm_adapter.families.family import Family

FAMILIES = (
    Family(
        architecture="Qwen2VLForConditionalGeneration",
        stamps_clips=False,
        frame_width=448,
        frame_height=336,
    ),
)
