"""Files of a model's folder, checked in milliseconds: JSON, and what a file of tensors holds."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onlooker.core.errors import ConfigError

_MAX_HEADER_BYTES = 100_000_000
"""Safetensors' own limit on the length of a file's header."""


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A tensor in a file, as the file's header tells of it."""

    dtype: str
    """Safetensors' name of the number format, such as ``F32``."""
    shape: tuple[int, ...]


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model's folder.

    Raises:
        ConfigError: it is missing, or is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"the model folder '{path.parent.name}' holds no {path.name}: it is not a model, "
            "or its download has not finished"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"the model's {path.name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"the model's {path.name} is not a JSON object")
    return content


def tensors_of(path: Path) -> Mapping[str, TensorEntry]:
    """The tensors in a safetensors file, by name, after comparing the byte length that its header
    promises with the file's.

    Raises:
        ConfigError: the file cannot be read, or is truncated.
    """
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            (header_bytes,) = struct.unpack("<Q", file.read(8))
            if header_bytes > min(_MAX_HEADER_BYTES, size_bytes):
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(header_bytes))
        told = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = max(entry["data_offsets"][1] for entry in told.values())
        found = {
            name: TensorEntry(str(entry["dtype"]), tuple(map(int, entry["shape"])))
            for name, entry in told.items()
        }
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"the weights in '{path.name}' cannot be read: {error}") from error
    if size_bytes != 8 + header_bytes + end:
        raise ConfigError(
            f"the weights in '{path.name}' are truncated or damaged: {size_bytes} bytes, "
            f"the header promises {8 + header_bytes + end}. Download or copy the file again"
        )
    return found
