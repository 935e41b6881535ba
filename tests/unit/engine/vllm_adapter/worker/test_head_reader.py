"""Heads are applied to the hidden states of the tokens that were asked for, and of no others."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from onlooker.engine.vllm_adapter.wire import HeadOp, ScoreHead, ScoreHeads
from onlooker.engine.vllm_adapter.worker.head_reader import HeadReader
from onlooker.engine.vllm_adapter.worker.rows import StepRows

HIDDEN = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]])


@pytest.fixture
def reader(tmp_path: Path) -> HeadReader:
    """Two heads on hidden states of two numbers: one of two rows, and one of one row and a bias."""
    file = str(tmp_path / "heads.safetensors")
    tensors = {
        "two": torch.tensor([[0.0, 0.0], [1.0, 2.0]]),
        "one": torch.tensor([[3.0, 0.0]]),
        "bias": torch.tensor([-1.0]),
    }
    save_file(tensors, file)
    return HeadReader(ScoreHeads(file, (ScoreHead("duo", "two"), ScoreHead("solo", "one", "bias"))))


def rows(*slots: int) -> StepRows:
    found = StepRows()
    found.note(torch.tensor(slots))
    return found


def logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_each_head_gives_a_share_of_the_softmax_or_the_logistic(reader: HeadReader) -> None:
    reader.begin([HeadOp("r", 7)])
    reader.read(HIDDEN, rows(5, 6, 7))
    # Of (0, 2 - 2) half; and 3 x 2 - 1.
    assert reader.take() == {"r": pytest.approx({"duo": 0.5, "solo": logistic(5.0)})}


def test_requests_of_one_step_each_get_their_own(reader: HeadReader) -> None:
    reader.begin([HeadOp("a", 6), HeadOp("b", 5)])
    reader.read(HIDDEN, rows(5, 6, 7, -1))
    found = reader.take()
    assert found["a"] == pytest.approx({"duo": logistic(2.0), "solo": logistic(-1.0)})
    assert found["b"] == pytest.approx({"duo": logistic(1.0), "solo": logistic(2.0)})


def test_half_precision_is_reckoned_in_float32(reader: HeadReader) -> None:
    reader.begin([HeadOp("r", 5)])
    reader.read(HIDDEN.bfloat16(), rows(5, 6, 7))
    assert reader.take()["r"] == pytest.approx({"duo": logistic(1.0), "solo": logistic(2.0)})


def test_a_step_that_does_not_say_when_it_ends_gives_nothing(reader: HeadReader) -> None:
    reader.begin([HeadOp("r", 5)])
    reader.read(HIDDEN, rows(5, 6, 7))
    reader.begin([HeadOp("r", 5)])
    assert reader.take() == {}


def test_nobody_asks_and_nothing_is_read() -> None:
    reader = HeadReader(ScoreHeads("there is no such file", ()))
    reader.begin([])
    reader.read(HIDDEN, StepRows())
    assert reader.take() == {}
