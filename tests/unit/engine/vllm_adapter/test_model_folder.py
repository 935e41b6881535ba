"""A model folder is checked before the slow start, and says what is wrong with it."""

import json
import struct
from pathlib import Path

import pytest

from onlooker.core.errors import ConfigError
from onlooker.engine.vllm_adapter.model_folder import find_model


def write_folder(folder: Path) -> Path:
    folder.mkdir()
    architectures = ["Qwen3VLForConditionalGeneration"]
    (folder / "config.json").write_text(json.dumps({"architectures": architectures}))
    for name in ("tokenizer_config.json", "preprocessor_config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    weights = struct.pack("<Q", len(header)) + header + bytes(8)
    (folder / "model.safetensors").write_bytes(weights)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "tiny")


def refusal(source: str) -> str:
    with pytest.raises(ConfigError) as refused:
        find_model(source, served_name=None)
    return refused.value.message


def test_a_whole_folder_is_served_under_its_own_name(folder: Path) -> None:
    model = find_model(str(folder), served_name=None)
    assert (model.served_name, model.is_local) == ("tiny", True)


def test_a_hub_name_is_left_to_vllm() -> None:
    model = find_model("Qwen/Qwen3-VL-2B-Instruct", served_name=None)
    assert (model.source, model.is_local) == ("Qwen/Qwen3-VL-2B-Instruct", False)


def test_a_profile_sets_the_frame_size(folder: Path) -> None:
    (folder / "onlooker.json").write_text('{"frame_width": 72, "frame_height": 48}')
    profile = find_model(str(folder), served_name="x").profile
    assert (profile.frame_width, profile.frame_height) == (72, 48)


def test_a_profile_out_of_bounds_names_its_field(folder: Path) -> None:
    (folder / "onlooker.json").write_text('{"frame_width": 0}')
    assert "frame_width" in refusal(str(folder))


def test_a_missing_folder_is_named() -> None:
    assert "no model folder './nowhere'" in refusal("./nowhere")


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "preprocessor_config.json"]
)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert name in refusal(str(folder))


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in refusal(str(folder))


@pytest.mark.parametrize("cut_bytes", [1, 8, 60])
def test_truncated_weights_are_refused(folder: Path, cut_bytes: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-cut_bytes])
    assert "model.safetensors" in refusal(str(folder))


def test_empty_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")
    assert "cannot be read" in refusal(str(folder))


def test_another_family_is_refused_by_name(folder: Path) -> None:
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    assert "LlamaForCausalLM" in refusal(str(folder))


def test_a_config_that_is_no_json_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("<html>")
    assert "config.json cannot be read" in refusal(str(folder))
