"""`TokenPool`: the segments that a worker holds ready for a GPU, in memory that the GPU reaches.

One allocation of pinned memory, [tokens, layers, kv_heads, 2 * head_dim]. A segment is a run of
tokens in it. The device writes a run in its queue for saving, and reads runs by the numbers of
their tokens: some layers of many segments in one operation, whatever their sizes, and also segments
that only the device knows it has chosen.

The last part of it is the *ring*: there a segment stays for a moment for which the pool has no
room, until it has been brought to ordinary memory (see `SaveRing`).
"""

import weakref
from functools import partial

import torch

from onlooker.engine.vllm_adapter.worker.cache_view import CacheView
from onlooker.engine.vllm_adapter.worker.free_runs import FreeRuns
from onlooker.engine.vllm_adapter.worker.streams import DeviceEvent, DeviceStreams


class TokenRun:
    """A segment's tokens in the pool, which are free again when nobody holds this."""

    def __init__(self, first: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.first = first
        self.keys, self.values = keys, values
        """What lies there as the host sees it, [layers, tokens, kv_heads, head_dim] each. It is
        there once the event of `TokenPool.written` is over that was the newest then."""


class TokenPool:
    """See the module. Runs are taken by the thread that runs steps, and let go by any.

    `ring_tokens`: room of the ring, beside that of the pool. `memory`: what to use, as the host
    sees it and as the device does, if not pinned memory.

    A run that was let go may be given away at once: the device has been told to read it before it
    is told to write it again, and the queue for saving waits for the main one. The host never
    writes into the pool.
    """

    def __init__(
        self,
        view: CacheView,
        num_tokens: int,
        streams: DeviceStreams,
        *,
        ring_tokens: int = 0,
        memory: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        self.num_tokens = num_tokens
        self.ring_tokens = ring_tokens
        shape = (num_tokens + ring_tokens, view.num_layers, view.num_kv_heads, view.width)
        self._host, self.device = memory or streams.pinned(*shape, dtype=view.dtype)
        self._streams = streams
        self._free = FreeRuns(0, num_tokens)
        self._ring = FreeRuns(num_tokens, ring_tokens)
        self.written: DeviceEvent | None = None
        """The newest write. Writes are done in order, so that it is over when all are."""
        self._is_joined = True

    @property
    def num_free_tokens(self) -> int:
        """Without those of the ring."""
        return self._free.num_free

    def put(self, kv: torch.Tensor) -> TokenRun | None:
        """Keep `kv`, [tokens, layers, kv_heads, 2 * head_dim] on the device; None where there is no
        run of so many tokens. The copy is done beside the model's work; see `written`."""
        return _only(self._put(kv, self._free))

    def put_all(self, kv: torch.Tensor, count: int) -> list[TokenRun] | None:
        """Keep `count` segments of one size, whose tokens follow each other in `kv`, side by side,
        by one copy; None where there is no room for that. Else as `put`."""
        return self._put(kv, self._free, count)

    def put_in_ring(self, kv: torch.Tensor) -> TokenRun | None:
        """Keep `kv` in the ring; else as `put`."""
        return _only(self._put(kv, self._ring))

    def join(self) -> None:
        """What the device does from now on in its main queue is done after all writes."""
        if self.written is not None and not self._is_joined:
            self._streams.join(self.written)
            self._is_joined = True

    def wait(self) -> None:
        """Wait until the host can read all that was put."""
        if self.written is not None:
            self.written.wait()

    def _put(self, kv: torch.Tensor, free: FreeRuns, count: int = 1) -> list[TokenRun] | None:
        first = free.take(len(kv))
        if first is None:
            return None
        host = self._host[first : first + len(kv)]
        size = len(kv) // count
        halves = (half.split(size, 1) for half in host.transpose(0, 1).chunk(2, -1))
        runs = []
        for at, (keys, values) in enumerate(zip(*halves, strict=True)):
            run = TokenRun(first + at * size, keys, values)
            weakref.finalize(run, free.let_go, run.first, size)
            runs.append(run)
        self.written = self._streams.beside("save", partial(_copy, host, kv), reads=[kv])
        self._is_joined = False
        return runs


def _only(runs: list[TokenRun] | None) -> TokenRun | None:
    return None if runs is None else runs[0]


def _copy(target: torch.Tensor, source: torch.Tensor) -> None:
    target.copy_(source, non_blocking=True)
