"""Heads in a model's folder are checked before the slow start, and what is wrong is said."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from onlooker.core.errors import ConfigError
from onlooker.engine.vllm_adapter.gateway import score_heads
from onlooker.engine.vllm_adapter.gateway.score_heads import read_heads
from onlooker.engine.vllm_adapter.wire import ScoreHead
from tests.fakes.heads import write_heads

HIDDEN = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"hidden_size": HIDDEN}}))
    return tmp_path


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        read_heads(folder)
    return refused.value.message


def test_a_model_without_heads_has_none(folder: Path) -> None:
    assert read_heads(folder) is None


def test_heads_are_read_by_name(folder: Path) -> None:
    tensors = {"i": torch.zeros(2, HIDDEN), "r.w": torch.zeros(1, HIDDEN), "r.b": torch.zeros(1)}
    named = {"informative": {"weight": "i"}, "relevance": {"weight": "r.w", "bias": "r.b"}}
    found = read_heads(write_heads(folder, tensors, named))
    assert found is not None
    assert found.heads == (ScoreHead("informative", "i"), ScoreHead("relevance", "r.w", "r.b"))
    assert found.names == ("informative", "relevance")
    assert Path(found.file).name == "heads.safetensors"


def test_the_hidden_size_may_stand_at_the_top_of_the_config(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"hidden_size": 4}))
    assert read_heads(write_heads(folder, {"a": torch.zeros(2, 4)})) is not None


@pytest.mark.parametrize(
    ("tensors", "named", "says"),
    [
        ({"a": torch.zeros(3, HIDDEN)}, None, r"[3, 8], and [1 or 2, 8] is expected"),
        ({"a": torch.zeros(2, 7)}, None, "so many numbers has the model's hidden state"),
        ({"a": torch.zeros(HIDDEN)}, None, r"head 'a' has the shape [8]"),
        ({"a": torch.zeros(2, HIDDEN, dtype=torch.int64)}, None, "is of I64"),
        (
            {"a": torch.zeros(2, HIDDEN)},
            {"x": {"weight": "b"}},
            "no tensor 'b', which the head 'x'",
        ),
        (
            {"a": torch.zeros(2, HIDDEN), "b": torch.zeros(1)},
            {"x": {"weight": "a", "bias": "b"}},
            "[1], and [2] is expected",
        ),
        ({"a": torch.zeros(2, HIDDEN)}, {}, "names 0 heads; 1 to 16"),
        ({"a": torch.zeros(2, HIDDEN)}, {"x": {"wieght": "a"}}, "'x.weight'"),
        ({"a": torch.zeros(2, HIDDEN)}, {"a b": {"weight": "a"}}, "'a b"),
        (
            {"a": torch.zeros(2, HIDDEN)},
            {f"h{number}": {"weight": "a"} for number in range(17)},
            "names 17 heads",
        ),
    ],
)
def test_heads_that_do_not_fit_are_refused_with_the_reason(
    folder: Path,
    tensors: dict[str, torch.Tensor],
    named: dict[str, dict[str, str]] | None,
    says: str,
) -> None:
    assert says in refusal(write_heads(folder, tensors, named))


def _no_tensors(folder: Path) -> None:
    (folder / "heads" / "heads.safetensors").unlink()


def _no_list(folder: Path) -> None:
    (folder / "heads" / "heads.json").unlink()


def _broken_list(folder: Path) -> None:
    (folder / "heads" / "heads.json").write_text("{")


def _cut_short(folder: Path) -> None:
    file = folder / "heads" / "heads.safetensors"
    file.write_bytes(file.read_bytes()[:-4])


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (_no_tensors, "heads/heads.safetensors is missing"),
        (_no_list, "no heads/heads.json"),
        (_broken_list, "heads.json cannot be read"),
        (_cut_short, "truncated or damaged"),
    ],
)
def test_heads_that_are_not_whole_are_refused(
    folder: Path, break_it: Callable[[Path], None], says: str
) -> None:
    break_it(write_heads(folder, {"a": torch.zeros(2, HIDDEN)}))
    assert says in refusal(folder)


def test_a_file_that_is_too_large_for_heads_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_heads(folder, {"a": torch.zeros(2, HIDDEN)})
    monkeypatch.setattr(score_heads, "MAX_FILE_BYTES", 100)
    assert "nothing but the heads" in refusal(folder)
