"""Models of true shapes without their weights: a folder that vLLM loads with numbers of its own.

Time and memory go by the shape alone. The tokenizer and the processors are the demo model's, with
the sizes of patches and pictures of the real ones; what such a model writes is nonsense.
"""

import importlib.util
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from onlooker.engine.sizing.known_shapes import KNOWN_SHAPES
from onlooker.engine.sizing.model_shape import ModelShape, VisionShape


@dataclass(frozen=True, slots=True)
class DummyModel:
    """A model to be measured, and the pictures that it looks at."""

    name: str
    shape: ModelShape
    vision_heads: int
    sections: tuple[int, int, int]
    """Rotary frequencies of a head for time, height and width."""
    frame_width: int
    frame_height: int

    @property
    def seen_tokens(self) -> int:
        """Tokens of a clip's picture."""
        side = self.shape.vision.patch * self.shape.vision.merge
        return (self.frame_width // side) * (self.frame_height // side)

    def write(self, folder: Path) -> Path:
        """Write the folder; returns it."""
        source = _demo_folder()
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
                     "generation_config.json"):  # fmt: skip
            shutil.copy(source / name, folder / name)
        vision = self.shape.vision
        for name, frames in (
            ("preprocessor_config.json", 1),
            ("video_preprocessor_config.json", 2),
        ):
            said = json.loads((source / name).read_text())
            pixels = frames * self.frame_width * self.frame_height
            said |= {"patch_size": vision.patch, "merge_size": vision.merge,
                     "size": {"longest_edge": pixels, "shortest_edge": pixels}}  # fmt: skip
            _write(folder / name, said)
        _write(
            folder / "config.json", self._config(json.loads((source / "config.json").read_text()))
        )
        size = {"frame_width": self.frame_width, "frame_height": self.frame_height}
        _write(folder / "onlooker.json", {**size, "window_clips": 64})
        # Nobody reads it: a folder of a model has to have one.
        save_file({"none": torch.zeros(1)}, folder / "model.safetensors")
        return folder

    def _config(self, config: dict[str, Any]) -> dict[str, Any]:
        """The demo model's config with this shape."""
        shape, vision = self.shape, self.shape.vision
        rope = config["text_config"]["rope_parameters"]
        config["tie_word_embeddings"] = shape.is_tied
        config["text_config"] |= {
            "head_dim": shape.head_dim, "hidden_size": shape.hidden,
            "intermediate_size": shape.inner, "num_attention_heads": shape.heads,
            "num_hidden_layers": shape.layers, "num_key_value_heads": shape.kv_heads,
            "tie_word_embeddings": shape.is_tied, "vocab_size": shape.vocabulary,
            "max_position_embeddings": 262_144,
            "rope_parameters": {**rope, "mrope_section": list(self.sections)},
        }  # fmt: skip
        step = max(1, vision.layers // vision.mergers)
        config["vision_config"] |= {
            "depth": vision.layers, "hidden_size": vision.hidden, "num_heads": self.vision_heads,
            "intermediate_size": vision.inner, "out_hidden_size": shape.hidden,
            "patch_size": vision.patch, "spatial_merge_size": vision.merge,
            "deepstack_visual_indexes": [step * index for index in range(1, vision.mergers)],
            "num_position_embeddings": 2304,
        }  # fmt: skip
        return config


def _real(name: str) -> DummyModel:
    return DummyModel(
        name=f"Qwen3-VL-{name}", shape=KNOWN_SHAPES[f"Qwen/Qwen3-VL-{name}-Instruct"],
        vision_heads=16, sections=(24, 20, 20), frame_width=512, frame_height=384,
    )  # fmt: skip


REAL = {"2b": _real("2B"), "8b": _real("8B")}

_TINY = DummyModel(
    name="tiny",
    shape=ModelShape(
        layers=3, hidden=128, heads=4, kv_heads=2, head_dim=32, inner=256, vocabulary=512,
        is_tied=True,
        vision=VisionShape(
            layers=4, hidden=96, inner=192, is_gated=False, patch=16, merge=2, mergers=2
        ),
    ),
    vision_heads=6, sections=(6, 5, 5), frame_width=64, frame_height=64,
)  # fmt: skip

TINY = {"2b": _TINY, "8b": replace(_TINY, name="tiny, a little larger")}
"""Stand-ins for a CPU, so that all of it can be tried without a GPU."""


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def _demo_folder() -> Path:
    spec = importlib.util.find_spec("onlooker.demo_model")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))) / "weights"
