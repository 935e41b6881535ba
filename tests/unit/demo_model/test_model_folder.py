"""The folder loads as any Qwen3-VL does, and every clip costs the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration
from transformers.video_utils import VideoMetadata

from onlooker.demo_model.check import check_folder
from onlooker.demo_model.dataset import CLIP_TOKENS, Layout, clip_positions
from onlooker.demo_model.model import FRAME_SIZE, build_config, build_model, write_folder
from onlooker.demo_model.phrases import vocabulary
from onlooker.demo_model.tokenizer import build_tokenizer
from onlooker.demo_model.training.vision import encode, patches_of

MAX_PARAMETERS = 12_000_000
MAX_BYTES = 25_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = build_tokenizer(vocabulary())
    write_folder(folder, build_model(build_config(tokenizer)), tokenizer)
    return folder


def frames(count: int, seed: int = 0) -> np.ndarray:
    shape = (count, 2, FRAME_SIZE, FRAME_SIZE, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_the_folder_is_sound_and_within_its_budget(folder: Path) -> None:
    sizes = check_folder(folder)
    assert sizes.parameters <= MAX_PARAMETERS
    assert sizes.folder_bytes <= MAX_BYTES


def test_the_stock_classes_load_it_without_anything_of_ours(folder: Path) -> None:
    processor = AutoProcessor.from_pretrained(folder)
    model = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    assert type(processor).__name__ == "Qwen3VLProcessor"
    assert processor.tokenizer.eos_token == "<|im_end|>"
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight


def test_every_clip_costs_the_same_whatever_its_time(folder: Path) -> None:
    processor = AutoProcessor.from_pretrained(folder)
    videos = list(frames(3))
    starts = (0.0, 59.5, 86_399.0)
    metadata = [
        VideoMetadata(
            fps=1000.0,
            frames_indices=[round(t * 1000), round(t * 1000) + 500],
            total_num_frames=2,
            duration=0.5,
        )
        for t in starts
    ]
    text = "<|video_pad|>" * 3
    ids = processor(text=[text], videos=videos, video_metadata=metadata)["input_ids"][0]
    layout = Layout(processor.tokenizer.backend_tokenizer)
    assert ids == [token for t in starts for token in layout.clip(t + 0.25)]
    assert len(ids) == 3 * CLIP_TOKENS


def test_our_positions_are_those_of_the_stock_model(folder: Path) -> None:
    model = build_model(build_config(build_tokenizer(vocabulary())))
    layout = Layout(build_tokenizer(vocabulary()))
    ids = torch.tensor([layout.clip(7.0)])
    kinds = (ids == layout.video).int() * 2
    stock, _ = model.model.get_rope_index(ids, kinds, video_grid_thw=torch.tensor([[1, 6, 6]]))
    assert stock[:, 0].tolist() == clip_positions().tolist()


def test_the_batched_vision_forward_equals_the_stock_one(folder: Path) -> None:
    tower = build_model(build_config(build_tokenizer(vocabulary()))).model.visual
    pixels = frames(3)
    stock_input = AutoProcessor.from_pretrained(folder).video_processor(
        videos=list(pixels), return_tensors="pt"
    )
    patches = patches_of(torch.from_numpy(pixels))
    torch.testing.assert_close(patches.flatten(0, 1), stock_input["pixel_values_videos"])
    with torch.no_grad():
        stock = tower(stock_input["pixel_values_videos"], grid_thw=stock_input["video_grid_thw"])
        merged, deep = encode(tower, patches)
    torch.testing.assert_close(merged.flatten(0, 1), stock.pooler_output, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        deep[0].flatten(0, 1), stock.deepstack_features[0], atol=1e-5, rtol=1e-4
    )


def test_the_chat_template_places_videos_images_and_turns(folder: Path) -> None:
    processor = AutoProcessor.from_pretrained(folder)
    talk = [
        {"role": "system", "content": "You watch."},
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "a star"},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "And now?"}]},
    ]
    assert processor.apply_chat_template(talk, add_generation_prompt=True) == (
        "<|im_start|>system\nYou watch.<|im_end|>\n"
        "<|im_start|>user\n<|video_pad|>What?<|im_end|>\n"
        "<|im_start|>assistant\na star<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>And now?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
