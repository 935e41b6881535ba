"""Which model is served: finding it, checking it before the slow start, and its profile.

A model is a folder or the name of one on a model hub. A folder is checked here, in milliseconds and
without vLLM, because a truncated download otherwise fails a minute later with a stack trace.
Beside the model's own files a folder may hold ``onlooker.json``, its *profile*: the frame size it
wants, what it can be asked about, and its system prompt.
"""

import hashlib
import importlib.util
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from onlooker.core.errors import ConfigError
from onlooker.core.guarantee import Guarantee
from onlooker.core.settings import Section
from onlooker.engine.interface import EngineInfo
from onlooker.engine.memory.ranking import Ranking
from onlooker.engine.memory.retelling import Retelling
from onlooker.engine.vllm_adapter.families import FAMILIES, WITH_MEMORY
from onlooker.engine.vllm_adapter.families.family import Family
from onlooker.engine.vllm_adapter.gateway.model_files import read_json, tensors_of
from onlooker.engine.vllm_adapter.gateway.score_heads import read_heads
from onlooker.engine.vllm_adapter.wire import ScoreHeads
from onlooker.engine.wording import DEFAULT_WORDING, Wording

_log = logging.getLogger("onlooker.engine.vllm")

DEMO = "demo"
"""The name of the model that comes with Onlooker."""

_SAMPLE_BYTES = 1 << 20
"""Bytes of the beginning, and of the end, of each weights file that the fingerprint covers."""


class Profile(Section):
    """``onlooker.json`` beside a model's weights; the defaults suit a Qwen3-VL from a hub, and the
    frame size is that of the model's `Family`."""

    model_config = ConfigDict(extra="ignore")  # later releases may say more

    frame_width: int = Field(default=512, ge=16, le=4096)
    """Width in pixels to which every frame is brought, so that every clip costs the same."""

    frame_height: int = Field(default=384, ge=16, le=4096)
    """Height in pixels to which every frame is brought."""

    window_clips: int = Field(default=64, ge=1, le=4096)
    """How many clips at once the model answers well about."""

    knows: str = "Ask about anything that can be seen."
    """One sentence for people on what the model can be asked about."""

    instructions: str = "You are watching a live video."
    """The system prompt the model was trained with, or that suits it."""

    heeds_nameplates: bool = True
    """Whether the model is told, behind its system prompt, what people call the stream and say of
    it. Not a model that knows no other system prompt than its own."""

    watching: Wording = DEFAULT_WORDING
    """How the model is asked on behalf of watches."""

    retelling: Retelling = Retelling.REMARK
    """How the model is told that a clip stands for a time at which it was not taken."""

    dialogue_turns: int = Field(default=1, ge=0, le=64)
    """How many earlier questions and answers the model bears without answering worse. Models from a
    hub are trained with dialogue, and one turn is enough for "and what colour is it?"; nothing says
    when a turn was true, so that each more tells more of what is no longer so."""

    ranking: Ranking | None = None
    """How its remembered clips are best ranked for a question, where that has been measured."""


@dataclass(frozen=True, slots=True)
class Model:
    """The model that is served."""

    source: str
    """What vLLM loads: a folder, or a hub name."""
    is_local: bool
    architecture: str | None
    """The architecture that the model's config names; None where it lies on a hub and cannot be
    read."""
    served_name: str
    profile: Profile
    heads: ScoreHeads | None = None
    """The score heads in the model's folder; None where there are none."""

    @property
    def family(self) -> Family | None:
        """The model's family; None where it is not known."""
        return FAMILIES.get(self.architecture or "")

    def family_with_memory(self) -> Family:
        """The family, which stream memory must know.

        Raises:
            ConfigError: stream memory does not know it.
        """
        if self.family is not None and self.family.guarded is not None:
            return self.family
        unknown = f"the family {self.architecture}"
        if self.architecture is None:
            unknown = f"the family of {self.source}, whose config cannot be read from the hub"
        raise ConfigError(
            f"stream memory does not know {unknown} (it knows {', '.join(WITH_MEMORY)}); "
            "start with --mode resend, which serves the model without memory"
        )

    def fingerprint(self) -> str:
        """A short name for everything that changes what stored KV means: weights and config.

        For a folder it covers the config and the size, the first and the last megabyte of each
        weights file, so that it takes milliseconds; for a hub name, the name.
        """
        digest = hashlib.blake2b(digest_size=12)
        if not self.is_local:
            digest.update(self.source.encode())
            return "m" + digest.hexdigest()
        folder = Path(self.source)
        digest.update((folder / "config.json").read_bytes())
        for path in sorted(folder.glob("*.safetensors")):
            with path.open("rb") as file:
                digest.update(f"{path.name}:{path.stat().st_size}".encode())
                digest.update(file.read(_SAMPLE_BYTES))
                file.seek(-min(_SAMPLE_BYTES, path.stat().st_size), os.SEEK_END)
                digest.update(file.read())
        return "m" + digest.hexdigest()

    def info(
        self,
        *,
        mode: str,
        tokens_per_clip: int,
        max_clips: int,
        max_images: int,
        writes_json: bool,
        calls_functions: bool,
        survives: Guarantee = Guarantee.NONE,
        score_heads: tuple[str, ...] = (),
    ) -> EngineInfo:
        """What clients are told of an engine that runs this model."""
        return EngineInfo(
            model=self.served_name,
            mode=mode,
            frame_width=self.profile.frame_width,
            frame_height=self.profile.frame_height,
            tokens_per_clip=tokens_per_clip,
            max_clips=max_clips,
            max_images=max_images,
            writes_json=writes_json,
            calls_functions=calls_functions,
            survives=survives,
            score_heads=score_heads,
            knows=self.profile.knows,
            nameplate_prompt=self.profile.instructions if self.profile.heeds_nameplates else None,
            wording=self.profile.watching,
            dialogue_turns=self.profile.dialogue_turns,
        )


def find_model(source: str, *, served_name: str | None) -> Model:
    """Resolve a `source` from the settings and check what can be checked before the start.

    Raises:
        ConfigError: no such folder, files missing or truncated, a family that is not served, a
            profile that does not parse. The message says what to do.
    """
    folder = model_folder(source)
    if folder is None:
        architecture = _hub_architecture(source)
        profile = _profile({}, architecture)
        return Model(source, False, architecture, served_name or source, profile)
    if source == DEMO:
        served_name = served_name or "onlooker-demo"
    architecture = check_folder(folder)
    return Model(
        source=str(folder),
        is_local=True,
        architecture=architecture,
        served_name=served_name or folder.resolve().name,
        profile=_read_profile(folder, architecture),
        heads=read_heads(folder),
    )


def check_source(source: str) -> None:
    """Check what of a model can be checked on this machine alone, in milliseconds: all that
    `find_model` does for a folder, and nothing for a hub name. Raises as it does."""
    folder = model_folder(source)
    if folder is not None:
        _read_profile(folder, check_folder(folder))
        read_heads(folder)


def model_folder(source: str) -> Path | None:
    """The folder that a `source` from the settings names; None for a hub name.

    Raises:
        ConfigError: it names neither.
    """
    folder = _demo_folder() if source == DEMO else Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ConfigError(f"the model '{source}' is a file; give the folder that holds it")
    if _is_hub_name(source):
        return None
    raise ConfigError(
        f"there is no model folder '{source}': give a folder with config.json and weights, "
        "or a hub name such as Qwen/Qwen3-VL-2B-Instruct"
    )


def check_folder(folder: Path) -> str:
    """Check a model folder without loading it; returns its architecture.

    Raises:
        ConfigError: naming the file that is missing, unreadable or truncated.
    """
    config = read_json(folder / "config.json")
    architectures = config.get("architectures") or ["none"]
    if architectures[0] not in FAMILIES:
        raise ConfigError(
            f"the model in '{folder.name}' is a {architectures[0]}; served here are: "
            + ", ".join(FAMILIES)
        )
    for name in ("tokenizer_config.json", "preprocessor_config.json"):
        read_json(folder / name)
    if (folder / "tokenizer.json").exists():
        read_json(folder / "tokenizer.json")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ConfigError(
            f"the model folder '{folder.name}' holds no weights (*.safetensors): "
            "the download or the training has not finished"
        )
    for path in weights:
        tensors_of(path)
    return str(architectures[0])


def _read_profile(folder: Path, architecture: str) -> Profile:
    path = folder / "onlooker.json"
    try:
        return _profile(read_json(path) if path.exists() else {}, architecture)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"the model's onlooker.json: '{field}': {first['msg']}") from error


def _profile(said: dict[str, Any], architecture: str | None) -> Profile:
    """The profile that says what is in `said`, with the frame size of the family where it says
    none."""
    if (family := FAMILIES.get(architecture or "")) is not None:
        said = {"frame_width": family.frame_width, "frame_height": family.frame_height, **said}
    return Profile.model_validate(said)


def _hub_architecture(name: str) -> str | None:
    """The architecture that the config of a model on the hub names. None where the hub cannot be
    reached or has no such model: vLLM may know another way to it, or why there is none."""
    try:
        from huggingface_hub import hf_hub_download

        config = read_json(Path(hf_hub_download(name, "config.json")))
    except Exception as error:
        _log.debug("the config of %s cannot be read", name, exc_info=error)
        return None
    return str((config.get("architectures") or ["none"])[0])


def _demo_folder() -> Path:
    spec = importlib.util.find_spec("onlooker.demo_model")
    locations = None if spec is None else spec.submodule_search_locations
    if not locations:
        raise ConfigError("the demo model is not installed: name another model")
    return Path(next(iter(locations))) / "weights"


def _is_hub_name(source: str) -> bool:
    parts = source.split("/")
    return len(parts) == 2 and all(parts) and not source.startswith((".", "/", "~"))
