"""A model of the demo model's making, and so small that a test can train it."""

from __future__ import annotations

from tokenizers import Tokenizer
from transformers import Qwen3VLForConditionalGeneration

from onlooker.demo_model.model import build_config, build_model

HIDDEN = 64


def small_model(tokenizer: Tokenizer, seed: int = 0) -> Qwen3VLForConditionalGeneration:
    """All layers, words, and ways of the shipped one; a quarter of its width.

    A step of the shipped one takes ten seconds on a core that has no arithmetic for bfloat16.
    """
    config = build_config(tokenizer)
    vision, text = config.vision_config, config.text_config
    vision.hidden_size, vision.num_heads, vision.intermediate_size = 96, 3, 192
    vision.out_hidden_size = text.hidden_size = HIDDEN
    text.intermediate_size = 128
    text.num_attention_heads = 4
    return build_model(config, seed)
