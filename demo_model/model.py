"""The demo model's shape and its folder: a small Qwen3-VL as transformers and vLLM define it.

`write_folder` lays out everything `AutoProcessor.from_pretrained` and `vllm serve` look for.
Nothing here is special to this project but the sizes and the words.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from onlooker.demo_model import tokenizer as words
from onlooker.demo_model.phrases import SYSTEM_PROMPTS
from onlooker.demo_model.watching import WATCHING

FRAME_SIZE = 72
"""Pixels along each side of the square frame that the vision tower sees."""
PATCH_SIZE = 12
MERGE_SIZE = 2
TOKENS_PER_FRAME_PAIR = (FRAME_SIZE // PATCH_SIZE // MERGE_SIZE) ** 2
TOKEN_SCALE = 0.3
"""The standard deviation of picture tokens when language training starts."""
TRAINED_CLIPS = 64
"""The number of clips in the longest contexts about which the model answers well."""
MAX_POSITIONS = 16384
PIXEL_MEAN = 0.5
PIXEL_STD = 0.5

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type in ('video', 'video_url') or 'video' in part -%}
{{- '<|video_pad|>' -}}
{%- elif part.type in ('image', 'image_url') or 'image' in part or 'image_url' in part -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif 'text' in part -%}
{{- part.text -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def build_config(tokenizer: Tokenizer) -> Qwen3VLConfig:
    """The configuration with the shipped sizes, for the vocabulary of `tokenizer`."""
    token = tokenizer.token_to_id
    vocabulary = tokenizer.get_vocab_size()
    return Qwen3VLConfig(
        architectures=["Qwen3VLForConditionalGeneration"],
        tie_word_embeddings=True,
        image_token_id=token(words.IMAGE_PAD),
        video_token_id=token(words.VIDEO_PAD),
        vision_start_token_id=token(words.VISION_START),
        vision_end_token_id=token(words.VISION_END),
        vision_config={
            "depth": 4,
            "hidden_size": 192,
            "num_heads": 6,
            "intermediate_size": 576,
            "patch_size": PATCH_SIZE,
            "temporal_patch_size": 2,
            "spatial_merge_size": MERGE_SIZE,
            "num_position_embeddings": (FRAME_SIZE // PATCH_SIZE) ** 2,
            "out_hidden_size": 256,
            "deepstack_visual_indexes": [1],
            "hidden_act": "gelu_pytorch_tanh",
        },
        text_config={
            "vocab_size": -(-vocabulary // 64) * 64,
            "hidden_size": 256,
            "intermediate_size": 640,
            "num_hidden_layers": 5,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 32,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "max_position_embeddings": MAX_POSITIONS,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1_000_000.0,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": token(words.IM_END),
            "pad_token_id": token(words.END_OF_TEXT),
        },
        bos_token_id=None,
        eos_token_id=token(words.IM_END),
        pad_token_id=token(words.END_OF_TEXT),
    )


def build_model(config: Qwen3VLConfig, seed: int = 0) -> Qwen3VLForConditionalGeneration:
    """A randomly initialised model, fp32; word vectors are larger than usual, to match pictures."""
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config).float().eval()
    torch.nn.init.normal_(model.model.language_model.embed_tokens.weight, std=TOKEN_SCALE / 3)
    return model


@torch.no_grad()
def scale_tokens(merger: torch.nn.Module, tokens: torch.Tensor) -> None:
    """Bring what a merger puts out to a standard deviation of TOKEN_SCALE, given a sample of it.

    What the stage 1 heads see is normed, so nothing they learnt is lost; but a language model whose
    picture tokens are a hundred times its word vectors learns slowly.
    """
    factor = TOKEN_SCALE / tokens.float().std()
    for parameter in merger.get_submodule("linear_fc2").parameters():
        parameter.mul_(factor)


def write_folder(
    folder: Path,
    model: Qwen3VLForConditionalGeneration,
    tokenizer: Tokenizer,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write weights in `dtype`, configuration, tokenizer and processor settings into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = Qwen3VLForConditionalGeneration(copy.deepcopy(model.config)).to(dtype)
    for config in (stored.config, stored.config.text_config, stored.config.vision_config):
        config.dtype = dtype
    stored.load_state_dict({name: value.to(dtype) for name, value in model.state_dict().items()})
    stored.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    token = tokenizer.token_to_id
    _write_json(folder / "tokenizer_config.json", _tokenizer_settings())
    _write_json(folder / "preprocessor_config.json", _image_settings())
    _write_json(folder / "video_preprocessor_config.json", _video_settings())
    _write_json(
        folder / "generation_config.json",
        {
            "do_sample": False,
            "eos_token_id": [token(words.IM_END), token(words.END_OF_TEXT)],
            "pad_token_id": token(words.END_OF_TEXT),
        },
    )
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors files are otherwise readable for their owner only
    _write_json(folder / "onlooker.json", _profile())


RANKING: dict[str, Any] = {
    "score": "token_keys_8bit",
    "voting_layers": [2],
    "temperature": 0.15,
}
"""The ranking that ``python -m onlooker.demo_model.calibrate`` found for the shipped weights; new
weights need a new one."""


def _profile() -> dict[str, Any]:
    """What a server needs to know that the model's own files do not say."""
    return {
        "frame_width": FRAME_SIZE,
        "frame_height": FRAME_SIZE,
        "window_clips": TRAINED_CLIPS,
        "knows": "only the drawn world: one to three coloured shapes that come, move, change and "
        "leave, and a sign with a digit. Anything else it cannot tell",
        "instructions": SYSTEM_PROMPTS[0],
        "watching": WATCHING,
        "ranking": RANKING,
        # It reads stamps to the letter and knows no sentences beside its questions.
        "retelling": "restate",
        # It was hardly trained with dialogue: any earlier turn costs right answers.
        "dialogue_turns": 0,
        "heeds_nameplates": False,
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _tokenizer_settings() -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "processor_class": "Qwen3VLProcessor",
        "model_max_length": MAX_POSITIONS,
        "clean_up_tokenization_spaces": False,
        "eos_token": words.IM_END,
        "pad_token": words.END_OF_TEXT,
        "unk_token": words.UNKNOWN,
        "additional_special_tokens": [
            token
            for token in words.SPECIAL_TOKENS
            if token not in (words.IM_END, words.END_OF_TEXT, words.UNKNOWN)
        ],
    }


def _shared_settings() -> dict[str, Any]:
    return {
        "processor_class": "Qwen3VLProcessor",
        "patch_size": PATCH_SIZE,
        "temporal_patch_size": 2,
        "merge_size": MERGE_SIZE,
        "image_mean": [PIXEL_MEAN] * 3,
        "image_std": [PIXEL_STD] * 3,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
    }


def _image_settings() -> dict[str, Any]:
    pixels = FRAME_SIZE * FRAME_SIZE
    return {
        **_shared_settings(),
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "size": {"shortest_edge": pixels, "longest_edge": pixels},
    }


def _video_settings() -> dict[str, Any]:
    """Settings for two frames of the fixed size, none of which is ever dropped for its rate."""
    pixels = 2 * FRAME_SIZE * FRAME_SIZE
    return {
        **_shared_settings(),
        "video_processor_type": "Qwen3VLVideoProcessor",
        "size": {"shortest_edge": pixels, "longest_edge": pixels},
        "do_sample_frames": False,
        "cap_pixels_per_frame": False,
        "min_frames": 2,
        "max_frames": 512,
        "fps": 2,
    }
