"""Workers that meet, as those of a model that is split do, in threads of one process."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch

from onlooker.engine.vllm_adapter.worker.head_group import HeadGroup
from onlooker.engine.vllm_adapter.worker.head_share import HeadShare
from tests.fakes.waiting import WAIT_S

R = TypeVar("R")


class Rendezvous:
    """Where workers exchange tensors. One that waits in vain fails, and so do all others."""

    def __init__(self, size: int = 2) -> None:
        self._barrier = threading.Barrier(size, timeout=WAIT_S)
        self._given: dict[int, torch.Tensor] = {}
        self._size = size
        self.num_meetings = 0

    def groups(self) -> list[HeadGroup]:
        """The group as each worker sees it."""
        return [
            HeadGroup(HeadShare(rank, self._size), partial(self._gather, rank))
            for rank in range(self._size)
        ]

    def together(self, works: list[Callable[[], R]]) -> list[R]:
        """Have each worker do its work, all at once."""

        def done(work: Callable[[], R]) -> R:
            try:
                return work()
            except BaseException:
                self._barrier.abort()
                raise

        with ThreadPoolExecutor(self._size) as threads:
            return list(threads.map(done, works))

    def _gather(self, rank: int, mine: torch.Tensor) -> torch.Tensor:
        self._given[rank] = mine.clone()
        self._barrier.wait()
        found = torch.stack([self._given[one] for one in range(self._size)])
        self._barrier.wait()
        self.num_meetings += rank == 0
        return found
