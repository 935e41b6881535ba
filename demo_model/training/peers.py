"""Processes that learn one model together, each from its own batches, by the mean gradient.

A step of so small a model is many short calls, which threads share badly. On two cores two
processes with a thread each answer 1.16 times the questions a second of one with two threads at up
to 16 clips and 1.03 times at 64; 1.7 and 1.5 times those of one thread. All processes start from
the same weights and take the same steps, so they stay the same.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError
from typing import Any

import torch
from torch import nn

from onlooker.core.cores import num_cores

PATIENCE_S = 600.0
"""How long a process waits for the slowest one."""
MOST = 4
"""The greatest number of processes by default; batches are too small to be shared among more."""


@dataclass(frozen=True)
class Peers:
    """One process's place among those that learn together; passed to a process when it starts."""

    rank: int
    count: int
    shared: Any
    """float32[count * parameters]: the gradients of each process, in memory that all share."""
    told: Any
    """float64[2]: the time spent and the level, as the first process says."""
    barrier: Barrier

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Put the mean over all processes in the place of each gradient.

        Raises:
            threading.BrokenBarrierError: Another process has failed, or hangs.
        """
        rows = torch.frombuffer(self.shared, dtype=torch.float32).view(self.count, -1)
        sizes = [p.numel() for p in parameters]
        for part, parameter in zip(rows[self.rank].split(sizes), parameters, strict=True):
            grad = parameter.grad
            part.copy_(torch.zeros_like(part) if grad is None else grad.flatten())
        self.barrier.wait()
        mean = rows.mean(0)
        self.barrier.wait()  # no process may write its next gradients while another still reads
        for part, parameter in zip(mean.split(sizes), parameters, strict=True):
            parameter.grad = part.view_as(parameter)

    def agree(self, spent_s: float, level: int) -> tuple[float, int]:
        """The time spent and the level as the first process says; all processes go by them."""
        if self.rank == 0:
            self.told[:] = [spent_s, float(level)]
        self.barrier.wait()
        return float(self.told[0]), int(self.told[1])


def processes_for(device: torch.device) -> int:
    """How many processes learn together by default: one on a GPU, else one a core up to `MOST`."""
    if device.type != "cpu":
        return 1
    return max(1, min(MOST, num_cores()))


def _join(learn: Callable[..., None], peers: Peers, threads: int, given: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process handles it and ends the others
    torch.set_num_threads(threads)
    try:
        learn(peers, *given)
    except BaseException:
        peers.barrier.abort()
        raise


@contextmanager
def joined_by(
    learn: Callable[..., None], count: int, parameters: int, given: tuple[Any, ...]
) -> Iterator[Peers | None]:
    """The place of the first of `count` processes; the others call `learn(peers, *given)`.

    It is None where `count` is 1.

    `learn` is a function of a module, `parameters` the number of gradients to average.

    Raises:
        RuntimeError: Another process has failed, or hangs.
    """
    if count <= 1:
        yield None
        return
    context = get_context("spawn")
    shared, told = context.RawArray("f", count * parameters), context.RawArray("d", 2)
    barrier = context.Barrier(count, timeout=PATIENCE_S)
    threads = max(1, num_cores() // count)
    before = torch.get_num_threads()
    places = [Peers(rank, count, shared, told, barrier) for rank in range(count)]
    others = [
        context.Process(target=_join, args=(learn, place, threads, given), daemon=True)
        for place in places[1:]
    ]
    for other in others:
        other.start()
    torch.set_num_threads(threads)
    try:
        yield places[0]
        for other in others:
            other.join(PATIENCE_S)
    except BrokenBarrierError as error:
        raise RuntimeError(
            "a training process beside this one has failed (its error stands above) or hung; "
            "start again to go on from the last checkpoint"
        ) from error
    finally:
        torch.set_num_threads(before)
        for other in others:
            other.terminate()
            other.join()
