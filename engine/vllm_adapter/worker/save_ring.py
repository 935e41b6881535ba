"""`SaveRing`: gets segments to ordinary memory for which the pool has no room, beside the steps.

A segment is copied into the ring, a small part of the memory that the device reaches, in the queue
for saving. So it counts as kept at once, and can be placed like any other. A thread waits for the
copy and makes one in ordinary memory, which takes its place when the next step begins; then its
part of the ring is free again. Nobody waits, unless more is saved than the thread gets away.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial

import torch

from onlooker.cache_store.daemon_pool import DaemonPool
from onlooker.engine.vllm_adapter.worker.arena import Segment
from onlooker.engine.vllm_adapter.worker.pool import TokenPool, TokenRun
from onlooker.engine.vllm_adapter.worker.streams import DeviceEvent

_log = logging.getLogger("onlooker.engine.vllm")

Exchange = Callable[[str, Segment, Segment], None]
"""A function that has one segment take the place of another of the same key, where that still is;
see `SegmentArena.exchange`."""


class SaveRing:
    """See the module. All but the thread's copies runs in the thread that runs steps."""

    def __init__(self, pool: TokenPool, exchange: Exchange) -> None:
        self._pool = pool
        self._exchange = exchange
        self._thread = DaemonPool(1, name="save-ring")
        self._leaving: list[tuple[str, Segment, Future[Segment]]] = []
        """Segments in the ring, in the order in which they came."""
        self.num_waited = 0
        """How often the ring was full, and a step waited for its thread."""

    def put(self, kv: torch.Tensor) -> TokenRun | None:
        """A run of the ring that gets `kv`, [tokens, layers, kv_heads, 2 * head_dim] on the device;
        None where it could not, however long it waited."""
        if len(kv) > self._pool.ring_tokens:
            return None
        self.tidy()
        has_waited = False
        while (run := self._pool.put_in_ring(kv)) is None and self._leaving:
            if not has_waited:
                self._note_wait()
            has_waited = True
            wait([self._leaving[0][2]])
            self.tidy()
        return run

    def move_on(self, key: str, segment: Segment) -> Future[Segment]:
        """Have a segment that lies in the ring since the newest write brought to ordinary memory;
        gives what it will be there."""
        assert self._pool.written is not None
        # The thread lets go of the segment before it tells, so that its run is free then.
        moved = self._thread.submit(partial(_moved, self._pool.written, [segment]))
        self._leaving.append((key, segment, moved))
        return moved

    def tidy(self) -> None:
        """Have what was brought to ordinary memory take the place of what lies in the ring."""
        while self._leaving and self._leaving[0][2].done():
            key, segment, moved = self._leaving.pop(0)
            if (error := moved.exception()) is None:
                self._exchange(key, segment, moved.result())
            else:
                _log.error("a segment stays in the ring for saves", exc_info=error)

    def close(self) -> None:
        """End the thread. What lies in the ring stays there."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _note_wait(self) -> None:
        self.num_waited += 1
        if self.num_waited == 1:
            _log.warning(
                "more is saved than a thread brings to ordinary memory, and a step waited for it: "
                "raise memory.arena_gib, or memory.ring_gib"
            )


def _moved(event: DeviceEvent, held: list[Segment]) -> Segment:
    event.wait()
    segment = held.pop()
    keys, values = (half.contiguous() for half in (segment.keys, segment.values))
    return Segment(keys, values, segment.base, None, segment.offsets)
