"""Muon in float32 takes the steps of PyTorch's own."""

from __future__ import annotations

import pytest
import torch

from onlooker.demo_model.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(24, 40), (40, 24)])
def test_it_steps_as_pytorchs_own_does(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    start = torch.randn(shape)
    gradients = [torch.randn(shape) for _ in range(3)]
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    steps = [
        Muon([ours], lr=0.02),
        torch.optim.Muon(
            [theirs], lr=0.02, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        ),
    ]
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        for step in steps:
            step.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved  # theirs is rounded to bfloat16


def test_all_directions_count_alike() -> None:
    torch.manual_seed(1)
    sizes = torch.linalg.svdvals(orthogonal(torch.randn(20, 50)))
    assert 0.6 < sizes.min() < sizes.max() < 1.3
