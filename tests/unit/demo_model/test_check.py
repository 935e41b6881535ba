"""A model folder that cannot be used is named as such before anything is started."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from onlooker.demo_model.check import (
    BadInput,
    BadModelFolder,
    check_folder,
    check_frame,
    check_question,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small folder that passes."""
    good = tmp_path / "model"
    good.mkdir()
    config = {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "text_config": {"vocab_size": 4},
    }
    (good / "config.json").write_text(json.dumps(config))
    (good / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0, "b": 1}}}))
    for name in ("tokenizer_config", "preprocessor_config", "video_preprocessor_config"):
        (good / f"{name}.json").write_text("{}")
    (good / "chat_template.jinja").write_text("x")
    tensors = {"w": torch.ones(4, 3, dtype=torch.bfloat16), "b": torch.ones(5)}
    save_file(tensors, good / "model.safetensors")
    return good


def test_a_good_folder_tells_its_sizes(folder: Path) -> None:
    sizes = check_folder(folder)
    assert sizes.parameters == 17
    assert sizes.weight_bytes == (folder / "model.safetensors").stat().st_size
    assert sizes.folder_bytes > sizes.weight_bytes


def cut(name: str, keep: int) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:keep])

    return spoil


def write(name: str, text: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).write_text(text)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: shutil.rmtree(folder), "there is no model folder"),
        (lambda folder: (folder / "model.safetensors").unlink(), "lacks model.safetensors"),
        (cut("model.safetensors", -1), "where"),
        (cut("model.safetensors", 40), "truncated"),
        (cut("model.safetensors", 3), "truncated"),
        (cut("config.json", 10), "not readable JSON"),
        (write("config.json", '{"architectures": ["Other"]}'), "not Qwen3VL"),
        (write("tokenizer.json", "[]"), "no JSON object"),
        (write("tokenizer.json", "{}"), "no usable vocabulary"),
        (
            write("tokenizer.json", '{"model": {"vocab": {"a":0,"b":1,"c":2,"d":3,"e":4}}}'),
            "knows 5 tokens",
        ),
    ],
)
def test_a_bad_folder_says_what_is_wrong_and_what_to_do(
    folder: Path, spoil: Callable[[Path], None], says: str
) -> None:
    spoil(folder)
    with pytest.raises(BadModelFolder, match=says):
        check_folder(folder)


def test_tensors_that_do_not_fill_their_bytes_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b"[4,3]", b"[4,2]"))
    with pytest.raises(BadModelFolder, match="wrong size"):
        check_folder(folder)


def test_questions_have_a_sensible_length() -> None:
    assert check_question("  What do you see? ") == "What do you see?"
    with pytest.raises(BadInput, match="10000 words"):
        check_question("why " * 10_000)
    with pytest.raises(BadInput, match="empty"):
        check_question("  ")


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 640), (8193, 4320)])
def test_frames_have_a_sensible_size(width: int, height: int) -> None:
    check_frame(640, 480)
    with pytest.raises(BadInput, match=f"{width}x{height}"):
        check_frame(width, height)
