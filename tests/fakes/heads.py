"""Score heads for tests, as they lie in the folder of a model."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file


def write_heads(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    named: Mapping[str, Mapping[str, str]] | None = None,
) -> Path:
    """Put heads beside the model in `folder`. `named`: what ``heads.json`` says; None: each tensor
    is the weight of a head of its name."""
    (folder / "heads").mkdir()
    save_file(dict(tensors), folder / "heads" / "heads.safetensors")
    said = {name: {"weight": name} for name in tensors} if named is None else named
    (folder / "heads" / "heads.json").write_text(json.dumps(said))
    return folder
