"""`TokenPool`: the segments that a worker holds ready for a GPU, in memory that the GPU reaches.

One allocation of pinned memory, [tokens, layers, kv_heads, 2 * head_dim]. A segment is a run of
tokens in it. The device writes a run in its queue for saving, and reads runs by the numbers of
their tokens: some layers of many segments in one operation, whatever their sizes, and also segments
that only the device knows it has chosen.
"""

import threading
import weakref
from bisect import insort
from functools import partial

import torch

from onlooker.engine.vllm_adapter.worker.cache_view import CacheView
from onlooker.engine.vllm_adapter.worker.streams import DeviceEvent, DeviceStreams


class TokenRun:
    """A segment's tokens in the pool, which are free again when nobody holds this."""

    def __init__(self, first: int, kv: torch.Tensor) -> None:
        self.first = first
        self.kv = kv
        """Keys and values as the host sees them, [tokens, layers, kv_heads, 2 * head_dim]. They are
        there once the event of `TokenPool.written` is over that was the newest then."""

    @property
    def num_tokens(self) -> int:
        return int(self.kv.shape[0])


class TokenPool:
    """See the module. Runs are taken by the thread that runs steps, and let go by any.

    `memory`: what to use, as the host sees it and as the device does, if not pinned memory.

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
        memory: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        self.num_tokens = num_tokens
        shape = (num_tokens, view.num_layers, view.num_kv_heads, view.width)
        self._host, self.device = memory or streams.pinned(*shape, dtype=view.dtype)
        self._streams = streams
        self._lock = threading.Lock()
        self._free = [(0, num_tokens)] if num_tokens else []
        """Free runs, (first token, number of tokens), ascending, no two of which touch."""
        self.written: DeviceEvent | None = None
        """The newest write. Writes are done in order, so that it is over when all are."""
        self._is_joined = True

    @property
    def num_free_tokens(self) -> int:
        with self._lock:
            return sum(count for _, count in self._free)

    def put(self, kv: torch.Tensor) -> TokenRun | None:
        """Keep `kv`, [tokens, layers, kv_heads, 2 * head_dim] on the device; None where there is no
        run of so many tokens. The copy is done beside the model's work; see `written`."""
        first = self._take(len(kv))
        if first is None:
            return None
        run = TokenRun(first, self._host[first : first + len(kv)])
        weakref.finalize(run, self._let_go, first, len(kv))
        self.written = self._streams.beside("save", partial(_copy, run.kv, kv), reads=[kv])
        self._is_joined = False
        return run

    def join(self) -> None:
        """What the device does from now on in its main queue is done after all writes."""
        if self.written is not None and not self._is_joined:
            self._streams.join(self.written)
            self._is_joined = True

    def wait(self) -> None:
        """Wait until the host can read all that was put."""
        if self.written is not None:
            self.written.wait()

    def _take(self, count: int) -> int | None:
        with self._lock:
            for place, (first, size) in enumerate(self._free):
                if size >= count:
                    self._free[place : place + 1] = (
                        [(first + count, size - count)] if size > count else []
                    )
                    return first
        return None

    def _let_go(self, first: int, count: int) -> None:
        with self._lock:
            insort(self._free, (first, count))
            joined: list[tuple[int, int]] = []
            for begin, size in self._free:
                if joined and sum(joined[-1]) == begin:
                    joined[-1] = (joined[-1][0], joined[-1][1] + size)
                else:
                    joined.append((begin, size))
            self._free = joined


def _copy(target: torch.Tensor, source: torch.Tensor) -> None:
    target.copy_(source, non_blocking=True)
