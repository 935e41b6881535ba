"""`HeadGroup`: the workers over which the heads of each layer are split, of which this is one.

All of them take the same steps, and each ranks clips by its own heads. Before anything is chosen
they add up what their heads say, so that they choose alike. They meet in the same order, or wait
for each other for ever: whether to meet may only depend on what all of them know.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from onlooker.engine.vllm_adapter.worker.head_share import ALL_HEADS, HeadShare

Gather = Callable[[torch.Tensor], torch.Tensor]
"""A function that takes a tensor of one shape from each worker and gives all workers all of them,
[workers, ...], in the order of their ranks. On a device nobody waits for it."""


@dataclass(frozen=True, slots=True)
class HeadGroup:
    """See the module."""

    share: HeadShare = ALL_HEADS
    gather: Gather | None = None
    """None where there is one worker."""

    @property
    def is_alone(self) -> bool:
        """Whether this worker has all heads."""
        return self.gather is None

    def mean(self, scores: torch.Tensor) -> torch.Tensor:
        """The mean of all workers' `scores`, to the last bit the same for all: each adds them up in
        the same order. Every worker has equally many heads, so that a mean over a worker's heads
        becomes a mean over all heads."""
        return scores if self.gather is None else self.gather(scores).mean(0)

    def all(self, said: Sequence[bool]) -> list[bool]:
        """What all workers say. They say equally much."""
        if self.gather is None or not said:
            return list(said)
        told = self.gather(torch.tensor(said, dtype=torch.int64))
        return [bool(one) for one in told.all(0).tolist()]

    def agree(self, numbers: Sequence[int]) -> list[bool]:
        """Which of `numbers` are the same for all workers."""
        if self.gather is None or not numbers:
            return [True] * len(numbers)
        told = self.gather(torch.tensor(numbers, dtype=torch.int64))
        return [bool(one) for one in (told == told[0]).all(0).tolist()]


ALONE = HeadGroup()
"""The group of a worker that has all heads."""
