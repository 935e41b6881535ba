"""The score heads in a model's folder: small linear layers that were trained to tell from a hidden
state whether to speak, as MMDuet has them.

They lie in the folder ``heads``, apart from the model's own weights, whose loader would refuse
them: ``heads.json`` names them, and ``heads.safetensors`` has their tensors.

    {"informative": {"weight": "informative_head.weight"},
     "relevance": {"weight": "relevance_head.weight", "bias": "relevance_head.bias"}}
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from onlooker.core.errors import ConfigError
from onlooker.core.settings import Section
from onlooker.engine.vllm_adapter.gateway.model_files import TensorEntry, read_json, tensors_of
from onlooker.engine.vllm_adapter.wire import ScoreHead, ScoreHeads

FOLDER, LIST, TENSORS = "heads", "heads.json", "heads.safetensors"

MAX_HEADS = 16

MAX_FILE_BYTES = 64 << 20
"""The largest file of tensors. Sixteen heads of two rows on a hidden state of 16,384 float32
numbers, with biases, take 2 MiB; a larger file holds something else."""

_FLOATS = ("F32", "F16", "BF16", "F64")


class _HeadEntry(Section):
    """What ``heads.json`` says of one head."""

    model_config = ConfigDict(extra="forbid")

    weight: str = Field(min_length=1, max_length=200)
    """Name of its tensor, [1 or 2, hidden size]."""

    bias: str | None = Field(default=None, min_length=1, max_length=200)
    """Name of the tensor that is added, [1 or 2]."""


_Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
_ENTRIES = TypeAdapter(dict[_Name, _HeadEntry])


def read_heads(folder: Path) -> ScoreHeads | None:
    """The score heads of the model in `folder`; None where it has none.

    Raises:
        ConfigError: they are named and not all there, or do not fit the model. The message says
            which, and what was expected.
    """
    listed, file = folder / FOLDER / LIST, folder / FOLDER / TENSORS
    if not listed.exists():
        if file.exists():
            raise ConfigError(
                f"the model has {FOLDER}/{TENSORS} and no {FOLDER}/{LIST}, which names its heads"
            )
        return None
    entries = _entries(listed)
    if not file.exists():
        raise ConfigError(
            f"the model's {FOLDER}/{LIST} names heads, and {FOLDER}/{TENSORS} is missing"
        )
    if file.stat().st_size > MAX_FILE_BYTES:
        raise ConfigError(
            f"the model's {FOLDER}/{TENSORS} has {file.stat().st_size} bytes, and {MAX_FILE_BYTES} "
            "are allowed: it is to hold nothing but the heads"
        )
    tensors = tensors_of(file)
    hidden_size = _hidden_size(folder)
    for name, entry in entries.items():
        rows = _rows_of(name, entry.weight, tensors, hidden_size)
        if entry.bias is not None and _tensor(name, entry.bias, tensors).shape != (rows,):
            raise ConfigError(
                f"the bias of the model's head '{name}' has the shape "
                f"{list(tensors[entry.bias].shape)}, and [{rows}] is expected, as its weight has"
            )
    heads = (ScoreHead(name, entry.weight, entry.bias) for name, entry in entries.items())
    return ScoreHeads(str(file.resolve()), tuple(heads))


def _entries(path: Path) -> Mapping[str, _HeadEntry]:
    try:
        entries = _ENTRIES.validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"the model's {FOLDER}/{LIST}: '{field}': {first['msg']}") from error
    if not 1 <= len(entries) <= MAX_HEADS:
        raise ConfigError(
            f"the model's {FOLDER}/{LIST} names {len(entries)} heads; 1 to {MAX_HEADS} are allowed"
        )
    return entries


def _rows_of(name: str, weight: str, tensors: Mapping[str, TensorEntry], hidden_size: int) -> int:
    shape = _tensor(name, weight, tensors).shape
    if len(shape) != 2 or shape[0] not in (1, 2) or shape[1] != hidden_size:
        raise ConfigError(
            f"the weight of the model's head '{name}' has the shape {list(shape)}, and "
            f"[1 or 2, {hidden_size}] is expected: so many numbers has the model's hidden state"
        )
    return shape[0]


def _tensor(name: str, tensor: str, tensors: Mapping[str, TensorEntry]) -> TensorEntry:
    found = tensors.get(tensor)
    if found is None:
        raise ConfigError(
            f"the model's {FOLDER}/{TENSORS} has no tensor '{tensor}', which the head '{name}' "
            f"names; it has: {', '.join(sorted(tensors)[:20])}"
        )
    if found.dtype not in _FLOATS:
        raise ConfigError(
            f"the tensor '{tensor}' of the model's head '{name}' is of {found.dtype}; expected is "
            f"one of {', '.join(_FLOATS)}"
        )
    return found


def _hidden_size(folder: Path) -> int:
    config: dict[str, Any] = read_json(folder / "config.json")
    found = (config.get("text_config") or config).get("hidden_size")
    if not isinstance(found, int):
        raise ConfigError("the model's config.json tells no hidden_size, which its heads must fit")
    return found
