"""When an answer may have the model's pause, on closed cases."""

import math

import pytest
import torch

from onlooker.engine.sampling import PauseRamp
from onlooker.engine.vllm_adapter.wire import PauseRule
from onlooker.engine.vllm_adapter.worker.held_pause import HeldPause

PAUSE = 2


def may_pause(num_tokens: int, ramp: PauseRamp) -> bool:
    """Whether an answer with so many tokens may have a pause whose probability is a half."""
    logits = torch.tensor([-torch.inf, 3.0, 3.0, -torch.inf])
    found = HeldPause(PauseRule(PAUSE, ramp))([7] * num_tokens, logits.clone())
    assert torch.equal(found[[0, 1, 3]], logits[[0, 1, 3]]), "other tokens are as they were"
    return not math.isinf(float(found[PAUSE]))


@pytest.mark.parametrize(
    ("threshold", "step", "first"),
    [
        (0.0, 0.0, 0),
        (0.75, -0.125, 3),  # not behind two tokens, where it is just as likely as the bar is high
        (0.5, -0.01, 1),
        (1.0, 0.0, None),
    ],
)
def test_a_pause_has_to_be_likelier_than_a_bar_that_falls(
    threshold: float, step: float, first: int | None
) -> None:
    ramp = PauseRamp(threshold, step)
    allowed = [may_pause(num, ramp) for num in range(12)]
    assert allowed == [first is not None and num >= first for num in range(12)]


def test_a_bar_that_rises_holds_a_pause_back_that_comes_late() -> None:
    allowed = [may_pause(num, PauseRamp(0.125, 0.125)) for num in range(5)]
    assert allowed == [True, True, True, False, False]


def test_half_precision_is_compared_in_full() -> None:
    logits = torch.tensor([0.0, 0.0, 1.0, 0.0], dtype=torch.bfloat16)
    chance = float(torch.softmax(logits.float(), -1)[PAUSE])
    for bar, allowed in ((chance - 1e-4, True), (chance + 1e-4, False)):
        found = HeldPause(PauseRule(PAUSE, PauseRamp(bar, 0.0)))([], logits.clone())
        assert math.isinf(float(found[PAUSE])) is not allowed
