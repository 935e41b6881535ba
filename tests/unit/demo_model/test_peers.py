"""Processes that learn together take the same steps, and none waits for one that has failed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from onlooker.demo_model.phrases import vocabulary
from onlooker.demo_model.tokenizer import build_tokenizer
from onlooker.demo_model.train import Options, language_trainer, train_language
from onlooker.demo_model.training.peers import Peers, joined_by
from onlooker.demo_model.training.pool import build_pool
from tests.unit.demo_model.small import small_model

TOKENIZER = build_tokenizer(vocabulary())
SHAPES = ((2, 3), (4,))


def parameters(value: float | None) -> list[nn.Parameter]:
    """Of two shapes; the second has no gradient when there is no value."""
    made = [nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    made[0].grad = torch.full(SHAPES[0], 1.0 if value is None else value)
    made[1].grad = None if value is None else torch.full(SHAPES[1], -value)
    return made


def average_beside(peers: Peers) -> None:
    for step in range(3):
        peers.average(parameters(10.0 + step))
        assert peers.agree(-1.0, -1) == (float(step), step * 2)


def fail_beside(peers: Peers) -> None:
    raise ValueError(f"process {peers.rank} has failed")


def test_gradients_are_averaged_and_the_first_says_where_they_are() -> None:
    with joined_by(average_beside, 2, 10, ()) as peers:
        assert peers is not None
        for step in range(3):
            own = parameters(None if step == 1 else 4.0)
            peers.average(own)
            ours, theirs = (1.0, 0.0) if step == 1 else (4.0, -4.0), 10.0 + step
            means = (ours[0] + theirs) / 2, (ours[1] - theirs) / 2
            for parameter, shape, mean in zip(own, SHAPES, means, strict=True):
                assert parameter.grad is not None
                assert torch.equal(parameter.grad, torch.full(shape, mean))
            assert peers.agree(float(step), step * 2) == (float(step), step * 2)


def test_alone_there_is_nobody_to_average_with() -> None:
    with joined_by(fail_beside, 1, 10, ()) as peers:
        assert peers is None


def average_with(learn: Callable[..., None]) -> None:
    with joined_by(learn, 2, 10, ()) as peers:
        assert peers is not None
        peers.average(parameters(1.0))


def test_a_process_that_fails_ends_the_others() -> None:
    with pytest.raises(RuntimeError, match="failed"):
        average_with(fail_beside)


def learn_and_keep(peers: Peers, options: Options) -> None:
    """As `learn_beside`, and leaves its weights behind."""
    trainer = language_trainer(options, small_model(TOKENIZER, options.seed))
    trainer.run(options.seed, peers)
    torch.save({"text": trainer.text.state_dict(), "step": trainer.step}, options.out)


def test_two_processes_end_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model(TOKENIZER, 4)
    first = {name: value.clone() for name, value in model.model.language_model.state_dict().items()}
    build_pool(model.model.visual.eval(), tmp_path / "pool", range(2), clips=24)
    options = Options(
        run=tmp_path,
        out=tmp_path / "other.pt",
        language_minutes=0.03,
        seed=4,
        processes=2,
    )
    monkeypatch.setattr("onlooker.demo_model.train.learn_beside", learn_and_keep)
    train_language(model, options)
    other = torch.load(options.out, weights_only=True)
    saved = torch.load(tmp_path / "language.pt", weights_only=True)
    assert saved["step"] == other["step"] >= 1
    for name, value in other["text"].items():
        assert torch.equal(value, saved["text"][name]), name
    assert any(not torch.equal(value, first[name]) for name, value in other["text"].items())
