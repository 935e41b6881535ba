"""Muon, an optimiser for matrices, in the arithmetic that the device has."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial that drives all singular values towards one (Jordan et al., 2024)."""
STEPS = 5
RMS = 0.2
"""The root of the mean square of an update, a rate of one given: that of AdamW's."""


class Muon(torch.optim.Optimizer):
    """Steps along the momentum with all its singular values made one (Jordan et al., 2024).

    PyTorch's own does this in bfloat16, in which a CPU without such arithmetic is forty times
    slower: it then takes most of the time of a training step. This one stays in float32.

    Args:
        parameters: matrices.
        lr: the learning rate, one that would suit AdamW.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        weight_decay: float = 0.05,
        momentum: float = 0.95,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(list(parameters), defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
                ahead = parameter.grad.lerp(state["momentum_buffer"], momentum)
                size = RMS * max(parameter.shape) ** 0.5
                parameter.mul_(1 - rate * group["weight_decay"])
                parameter.add_(orthogonal(ahead), alpha=-rate * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix with all its singular values about one, by Newton-Schulz iterations."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    found = matrix.T if tall else matrix
    found = found / found.norm().clamp(min=1e-7)
    for _ in range(STEPS):
        square = found @ found.T
        found = a * found + (b * square + c * square @ square) @ found
    return found.T if tall else found
