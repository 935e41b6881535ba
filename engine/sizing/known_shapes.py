"""Shapes of models that people name without having them here, from their published configs."""

from dataclasses import replace

from onlooker.engine.sizing.model_shape import ModelShape, VisionShape

_VISION_3 = VisionShape(
    layers=27, hidden=1152, inner=4304, is_gated=False, patch=16, merge=2, mergers=4
)
_SMALL_3 = VisionShape(
    layers=24, hidden=1024, inner=4096, is_gated=False, patch=16, merge=2, mergers=4
)
_VISION_25 = VisionShape(
    layers=32, hidden=1280, inner=3456, is_gated=True, patch=14, merge=2, mergers=1
)
_SMALL_25 = replace(_VISION_25, inner=3420)

_QWEN3, _QWEN25 = 151_936, 152_064
"""Words of the two vocabularies."""

KNOWN_SHAPES = {
    "Qwen/Qwen3-VL-2B-Instruct": ModelShape(
        layers=28, hidden=2048, heads=16, kv_heads=8, head_dim=128, inner=6144,
        vocabulary=_QWEN3, is_tied=True, vision=_SMALL_3,
    ),
    "Qwen/Qwen3-VL-4B-Instruct": ModelShape(
        layers=36, hidden=2560, heads=32, kv_heads=8, head_dim=128, inner=9728,
        vocabulary=_QWEN3, is_tied=True, vision=_SMALL_3,
    ),
    "Qwen/Qwen3-VL-8B-Instruct": ModelShape(
        layers=36, hidden=4096, heads=32, kv_heads=8, head_dim=128, inner=12_288,
        vocabulary=_QWEN3, is_tied=False, vision=_VISION_3,
    ),
    "Qwen/Qwen3-VL-32B-Instruct": ModelShape(
        layers=64, hidden=5120, heads=64, kv_heads=8, head_dim=128, inner=25_600,
        vocabulary=_QWEN3, is_tied=False, vision=_VISION_3,
    ),
    "Qwen/Qwen3-VL-30B-A3B-Instruct": ModelShape(
        layers=48, hidden=2048, heads=32, kv_heads=4, head_dim=128, inner=768, experts=128,
        active_experts=8, vocabulary=_QWEN3, is_tied=False, vision=_VISION_3,
    ),
    "Qwen/Qwen2.5-VL-3B-Instruct": ModelShape(
        layers=36, hidden=2048, heads=16, kv_heads=2, head_dim=128, inner=11_008,
        vocabulary=_QWEN3, is_tied=True, vision=_SMALL_25,
    ),
    "Qwen/Qwen2.5-VL-7B-Instruct": ModelShape(
        layers=28, hidden=3584, heads=28, kv_heads=4, head_dim=128, inner=18_944,
        vocabulary=_QWEN25, is_tied=False, vision=_SMALL_25,
    ),
    "Qwen/Qwen2.5-VL-32B-Instruct": ModelShape(
        layers=64, hidden=5120, heads=40, kv_heads=8, head_dim=128, inner=27_648,
        vocabulary=_QWEN25, is_tied=False, vision=_VISION_25,
    ),
    "Qwen/Qwen2.5-VL-72B-Instruct": ModelShape(
        layers=80, hidden=8192, heads=64, kv_heads=8, head_dim=128, inner=29_568,
        vocabulary=_QWEN25, is_tied=False, vision=_VISION_25,
    ),
}  # fmt: skip
"""By hub name."""
