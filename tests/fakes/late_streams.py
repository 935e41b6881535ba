"""Queues of a device that put work off for as long as nobody waits for it."""

import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from onlooker.engine.vllm_adapter.worker.streams import Beside

_ONE_AT_A_TIME = threading.RLock()


class LateEvent:
    def __init__(self, queue: "list[LateEvent]", work: Callable[[], None]) -> None:
        self._queue = queue
        self._work: Callable[[], None] | None = work

    def wait(self) -> None:
        """Everything in the queue before this, and this, is done at last."""
        with _ONE_AT_A_TIME:
            while self._work is not None:
                first = self._queue.pop(0)
                work, first._work = first._work, None
                assert work is not None
                work()


class LateStreams:
    """A device that is as slow as it may be: see the module, and `worker.streams`."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.queues: dict[Beside, list[LateEvent]] = {"load": [], "save": []}

    def up(self, numbers: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(numbers)

    def pinned(self, *shape: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        made = torch.full(shape, torch.nan if dtype.is_floating_point else 0xAA, dtype=dtype)
        return made, made

    def beside(
        self, queue: Beside, work: Callable[[], None], reads: Sequence[torch.Tensor] = ()
    ) -> LateEvent:
        event = LateEvent(self.queues[queue], work)
        self.queues[queue].append(event)
        return event

    def join(self, event: LateEvent) -> None:
        event.wait()
