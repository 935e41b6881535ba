"""A model folder is checked before the slow start, and says what is wrong with it."""

import json
import struct
from pathlib import Path

import pytest

from onlooker.core.errors import ConfigError
from onlooker.engine.vllm_adapter.families import FAMILIES, GUARDED, WITH_MEMORY
from onlooker.engine.vllm_adapter.gateway.model_folder import find_model


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


HUB_NAME = "Somebody/Some-VL"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub that cannot be reached, and an empty folder for what was fetched from it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def put_on_hub(hub: Path, architecture: str) -> None:
    folder = hub / "models--Somebody--Some-VL"
    commit = "0" * 40
    for name, text in (
        ("refs/main", commit),
        (f"snapshots/{commit}/config.json", json.dumps({"architectures": [architecture]})),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_a_model_on_a_hub_is_of_the_family_that_its_config_says(hub: Path) -> None:
    put_on_hub(hub, "Qwen2_5_VLForConditionalGeneration")
    model = find_model(HUB_NAME, served_name=None)
    assert (model.source, model.is_local) == (HUB_NAME, False)
    assert model.family_with_memory().architecture == "Qwen2_5_VLForConditionalGeneration"
    assert model.profile.frame_width % 28 == model.profile.frame_height % 28 == 0


def test_a_hub_that_cannot_be_reached_is_left_to_vllm(hub: Path) -> None:
    model = find_model(HUB_NAME, served_name=None)
    assert (model.source, model.is_local, model.family) == (HUB_NAME, False, None)
    with pytest.raises(ConfigError, match=r"cannot be read from the hub.*--mode resend"):
        model.family_with_memory()


@pytest.mark.parametrize("architecture", [a for a in FAMILIES if a not in WITH_MEMORY])
def test_a_family_that_stream_memory_does_not_know_is_offered_resend(
    folder: Path, architecture: str
) -> None:
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    with pytest.raises(ConfigError, match=rf"family {architecture} .*--mode resend"):
        find_model(str(folder), served_name=None).family_with_memory()


def test_a_family_with_memory_has_a_class_under_the_name_that_is_asked_for() -> None:
    named = {FAMILIES[name].guarded for name in WITH_MEMORY}
    assert {described.name for described in named if described} == set(GUARDED)


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


def test_a_folder_says_how_many_turns_its_model_bears(folder: Path) -> None:
    """One, where it does not say; the demo model bears none."""
    assert find_model(str(folder), served_name=None).profile.dialogue_turns == 1
    (folder / "onlooker.json").write_text(json.dumps({"dialogue_turns": 3}))
    model = find_model(str(folder), served_name=None)
    info = model.info(
        mode="segments",
        tokens_per_clip=1,
        max_clips=1,
        max_images=1,
        writes_json=False,
        calls_functions=False,
    )
    assert info.dialogue_turns == 3
    assert find_model("demo", served_name=None).profile.dialogue_turns == 0
