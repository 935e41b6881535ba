"""Says clearly what is wrong with a model folder, before anything slow is started.

Needs neither torch nor vLLM, so that a server can call it first.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "chat_template.jinja",
    "model.safetensors",
)
ARCHITECTURE = "Qwen3VLForConditionalGeneration"
MAX_HEADER_BYTES = 64 * 1024 * 1024
MAX_QUESTION_WORDS = 256
MIN_FRAME_SIDE = 8
MAX_FRAME_SIDE = 8192
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}


class BadModelFolder(ValueError):
    """A model folder cannot be used; the message says why and what to do."""


class BadInput(ValueError):
    """A question or frame that the demo model cannot take; the message says why."""


@dataclass(frozen=True)
class FolderSizes:
    """The sizes of a good folder: parameters of the model, and bytes of its files."""

    parameters: int
    weight_bytes: int
    folder_bytes: int


def check_folder(folder: Path) -> FolderSizes:
    """Check that all files are there, readable and complete; raise `BadModelFolder` otherwise."""
    remedy = "restore it (git checkout demo_model/weights) or train it (make train-demo)"
    if not folder.is_dir():
        raise BadModelFolder(f"there is no model folder at {folder}; {remedy}")
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise BadModelFolder(f"the model folder {folder} lacks {', '.join(missing)}; {remedy}")
    config = _read_json(folder / "config.json", remedy)
    if config.get("architectures") != [ARCHITECTURE]:
        raise BadModelFolder(
            f"{folder / 'config.json'} describes {config.get('architectures')}, not {ARCHITECTURE}"
        )
    tokenizer = _read_json(folder / "tokenizer.json", remedy)
    try:
        words = len(tokenizer["model"]["vocab"])
        rows = int(config["text_config"]["vocab_size"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadModelFolder(f"{folder} has no usable vocabulary; {remedy}") from error
    if words > rows:
        raise BadModelFolder(
            f"the tokenizer in {folder} knows {words} tokens, the model only {rows}; {remedy}"
        )
    parameters = _check_weights(folder / "model.safetensors", remedy)
    sizes = [path.stat().st_size for path in folder.iterdir() if path.is_file()]
    return FolderSizes(parameters, (folder / "model.safetensors").stat().st_size, sum(sizes))


def _read_json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadModelFolder(f"{path} is not readable JSON ({error}); {remedy}") from error
    if not isinstance(content, dict):
        raise BadModelFolder(f"{path} holds no JSON object; {remedy}")
    return content


def _check_weights(path: Path, remedy: str) -> int:
    """The number of parameters in a weights file whose length is exactly what its header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise BadModelFolder(f"{path} is truncated or no safetensors file; {remedy}")
        try:
            header = json.loads(file.read(length))
            tensors = {name: part for name, part in header.items() if name != "__metadata__"}
            spans = [tuple(part["data_offsets"]) for part in tensors.values()]
            shapes = [math.prod(part["shape"]) for part in tensors.values()]
            wide = [BYTES[part["dtype"]] for part in tensors.values()]
        except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as e:
            raise BadModelFolder(f"{path} has a damaged header; {remedy}") from e
    expected = 8 + length + max((end for _, end in spans), default=0)
    if size != expected:
        raise BadModelFolder(f"{path} holds {size} bytes where {expected} belong; {remedy}")
    fits = all(e - b == n * w for (b, e), n, w in zip(spans, shapes, wide, strict=True))
    if not spans or not fits:
        raise BadModelFolder(f"{path} has tensors of the wrong size; {remedy}")
    return sum(shapes)


def check_question(text: str) -> str:
    """The question without outer blanks; raise `BadInput` for none or for a far too long one."""
    text = text.strip()
    if not text:
        raise BadInput("the question is empty")
    count = len(text.split())
    if count > MAX_QUESTION_WORDS:
        raise BadInput(
            f"the question has {count} words; the demo model takes up to {MAX_QUESTION_WORDS}"
        )
    return text


def check_frame(width: int, height: int) -> None:
    """Raise `BadInput` for a frame too small to show anything or larger than is sensible."""
    if min(width, height) < MIN_FRAME_SIDE or max(width, height) > MAX_FRAME_SIDE:
        raise BadInput(
            f"a frame of {width}x{height} pixels: the demo model takes {MIN_FRAME_SIDE} to "
            f"{MAX_FRAME_SIDE} pixels a side"
        )
