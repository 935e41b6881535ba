"""A tiny Qwen2.5-VL with random weights, as a folder that transformers and vLLM load.

Its logits must differ clearly, or no test of it could fail. Weights of the usual 0.02 make every
token attend to all others alike and every logit nearly the same. So matrices are drawn with a
deviation of one by the root of their inputs, which keeps the size of what goes through them;
queries and keys a little larger, so that attention is sharp; the biases of queries, keys and
values as large as what they are added to; those of the vision tower small, so that pictures differ
by what they show; and the output three times larger, so that logits have a deviation of three.
"""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from onlooker.demo_model import tokenizer as words
from onlooker.demo_model.model import CHAT_TEMPLATE
from onlooker.demo_model.phrases import vocabulary

SIDE, PATCH = 72, 12
LAYERS = 3


def write_tiny_qwen2_5(folder: Path, tokenizer: Tokenizer | None = None) -> Path:
    """Write the model into `folder`; None takes the demo model's tokenizer, which knows words."""
    tokenizer = tokenizer or words.build_tokenizer(vocabulary())
    torch.manual_seed(3)
    model = Qwen2_5_VLForConditionalGeneration(_config(tokenizer)).float().eval()
    _draw(model)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = [t for t in words.SPECIAL_TOKENS if t not in (words.IM_END, words.END_OF_TEXT)]
    _write(
        folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast",
        processor_class="Qwen2_5_VLProcessor", eos_token=words.IM_END,
        pad_token=words.END_OF_TEXT, unk_token=words.UNKNOWN, additional_special_tokens=special,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    shared: dict[str, Any] = {
        "processor_class": "Qwen2_5_VLProcessor", "patch_size": PATCH, "temporal_patch_size": 2,
        "merge_size": 2, "size": {"shortest_edge": SIDE * SIDE, "longest_edge": SIDE * SIDE},
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }  # fmt: skip
    _write(
        folder / "preprocessor_config.json", **shared,
        image_processor_type="Qwen2VLImageProcessorFast",
    )  # fmt: skip
    _write(
        folder / "video_preprocessor_config.json", **shared,
        video_processor_type="Qwen2VLVideoProcessor", do_sample_frames=False,
        cap_pixels_per_frame=False,
    )  # fmt: skip
    _write(folder / "onlooker.json", frame_width=SIDE, frame_height=SIDE, window_clips=32)
    video = "<|vision_start|><|video_pad|><|vision_end|>"
    (folder / "chat_template.jinja").write_text(
        CHAT_TEMPLATE.replace("'<|video_pad|>'", f"'{video}'")
    )
    return folder


def _config(tokenizer: Tokenizer) -> Qwen2_5_VLConfig:
    """Three layers, a window of two by two tokens in the tower's first."""
    token = tokenizer.token_to_id
    ends = {"bos_token_id": None, "eos_token_id": token(words.IM_END), "pad_token_id": 0}
    return Qwen2_5_VLConfig(
        architectures=["Qwen2_5_VLForConditionalGeneration"],
        image_token_id=token(words.IMAGE_PAD),
        video_token_id=token(words.VIDEO_PAD),
        vision_start_token_id=token(words.VISION_START),
        vision_end_token_id=token(words.VISION_END),
        tie_word_embeddings=False,
        vision_config={
            "depth": 2, "hidden_size": 64, "num_heads": 2, "intermediate_size": 96,
            "patch_size": PATCH, "temporal_patch_size": 2, "spatial_merge_size": 2,
            # Of 3 x 3 tokens: windows of 2 x 2 and what is left over, then one layer over all.
            "window_size": 4 * PATCH, "fullatt_block_indexes": [1], "out_hidden_size": 128,
            "tokens_per_second": 4,
        },
        text_config={
            "vocab_size": -(-tokenizer.get_vocab_size() // 64) * 64, "hidden_size": 128,
            "intermediate_size": 192, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6],
            },
            **ends,
        },
        **ends,
    )  # fmt: skip


@torch.no_grad()
def _draw(model: torch.nn.Module) -> None:
    for name, weight in model.named_parameters():
        size = 1.0
        if weight.dim() > 1 and "embed_tokens" not in name:
            size = weight[0].numel() ** -0.5
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            size *= 1.5
        if name == "lm_head.weight":
            size *= 3
        if "visual" in name and name.endswith("bias"):
            size = 0.1
        if "norm" in name or "ln_q" in name:
            weight.uniform_(0.7, 1.3)
        else:
            weight.normal_(std=size)


def _write(path: Path, **content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
