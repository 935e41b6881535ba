"""Making a `CapacityPlan` of what people say: names of a model and a GPU, and numbers."""

import json
import re

from onlooker.core.errors import ConfigError
from onlooker.engine.config import EngineSection
from onlooker.engine.memory.budgets import MemoryBudgets
from onlooker.engine.memory.config import DEFAULT_RECENT
from onlooker.engine.sizing.capacity_plan import CapacityPlan
from onlooker.engine.sizing.chip import CHIPS
from onlooker.engine.sizing.known_shapes import KNOWN_SHAPES
from onlooker.engine.sizing.model_shape import ModelShape
from onlooker.engine.sizing.planned_load import PlannedLoad
from onlooker.engine.vllm_adapter.families import FAMILIES
from onlooker.engine.vllm_adapter.gateway.model_folder import Profile, model_folder

_FRAME = re.compile(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})")


def make_plan(
    model: str,
    *,
    gpu: str,
    streams: int,
    hours: float,
    clips_per_s: float,
    questions_per_min: float,
    frame: str | None,
    efficiency: float,
    host_gib: float,
    settings: EngineSection,
) -> CapacityPlan:
    """The plan for a model that lies in a folder, or is known by its hub name.

    Raises:
        ConfigError: no such model or GPU, or a frame size that is none; says what there is.
    """
    chip = CHIPS.get(gpu.lower())
    if chip is None:
        raise ConfigError(f"no figures of a GPU '{gpu}': there are {', '.join(CHIPS)}")
    shape, own_size = _shape(model)
    width, height = own_size if frame is None else _size(frame)
    memory = settings.memory
    recent = memory.recent_clips or DEFAULT_RECENT
    share = settings.vllm.gpu_memory_utilization
    if settings.decider is not None:
        raise ConfigError(
            "a plan is of one model: leave engine.decider out, with engine.vllm."
            f"gpu_memory_utilization as it is ({share:g}), and plan the decider's model by itself "
            "with its own share"
        )
    budgets = MemoryBudgets.of(
        memory,
        host_bytes=int(host_gib * 2**30),
        beside_bytes=int(chip.memory_gb * 1e9 * (1 - share)) * settings.vllm.tensor_parallel_size,
    )
    demand = PlannedLoad(
        streams=streams,
        hours=hours,
        clips_per_s=clips_per_s,
        frame_width=width,
        frame_height=height,
        questions_per_min=questions_per_min,
        recent_clips=recent,
        retrieved_clips=memory.retrieved_clips,
        stride_clips=memory.stride_clips or max(1, recent // 4),
        share_of_memory=share,
        efficiency=efficiency,
        gpus=settings.vllm.tensor_parallel_size,
        budgets=budgets,
    )
    return CapacityPlan(shape, chip, demand)


def _shape(model: str) -> tuple[ModelShape, tuple[int, int]]:
    """The model's shape, and the size of its frames."""
    folder = model_folder(model)
    if folder is None:
        if model not in KNOWN_SHAPES:
            raise ConfigError(
                f"the config of '{model}' is not known without loading it: download the model and "
                f"name its folder, or one of {', '.join(KNOWN_SHAPES)}"
            )
        name = "Qwen2_5_VL" if "Qwen2.5" in model else "Qwen3VL"
        family = FAMILIES[f"{name}ForConditionalGeneration"]
        return KNOWN_SHAPES[model], (family.frame_width, family.frame_height)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        said = folder / "onlooker.json"
        profile = json.loads(said.read_text(encoding="utf-8")) if said.exists() else {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"the model folder '{folder.name}' cannot be read: {error}") from error
    family_name = (config.get("architectures") or ["none"])[0]
    if (known := FAMILIES.get(family_name)) is not None:
        profile = {"frame_width": known.frame_width, "frame_height": known.frame_height, **profile}
    size = Profile.model_validate(profile)
    return ModelShape.of(config), (size.frame_width, size.frame_height)


def _size(frame: str) -> tuple[int, int]:
    found = _FRAME.fullmatch(frame)
    if found is None:
        raise ConfigError(f"a frame's size is width x height, such as 512x384, not '{frame}'")
    return int(found[1]), int(found[2])
