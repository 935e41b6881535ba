"""`DeviceShelf`: the newest segments on the device itself, beside the pool that all of them lie in.

A recent window is placed again whenever it slides, and by every question. From here that takes a
copy within the device, and nothing goes over its link to the host. What is here is in the pool,
too, so that letting go of it loses nothing.
"""

import weakref
from collections import OrderedDict

import torch

from onlooker.engine.vllm_adapter.worker.cache_view import CacheView
from onlooker.engine.vllm_adapter.worker.pool import TokenPool, TokenRun
from onlooker.engine.vllm_adapter.worker.streams import DeviceStreams


class DeviceShelf:
    """See the module.

    Args:
        num_tokens: room for so many tokens; 0: for none.
    """

    def __init__(self, view: CacheView, num_tokens: int, streams: DeviceStreams) -> None:
        memory = view.room(num_tokens)
        self._room = TokenPool(view, num_tokens, streams, memory=(memory, memory))
        self._runs: OrderedDict[str, tuple[weakref.ref[TokenRun], TokenRun]] = OrderedDict()
        """By key: where a segment lies in the pool, and where it lies here; the one that was used
        longest ago comes first."""
        self.num_read = 0
        """Segments that were placed from here."""
        self.num_let_go = 0
        """Segments that made room for newer ones."""

    @property
    def memory(self) -> torch.Tensor:
        """What lies here, [tokens, layers, kv_heads, 2 * head_dim]."""
        return self._room.device

    def put(self, key: str, in_pool: TokenRun, kv: torch.Tensor) -> None:
        """Have a segment lie here that lies in the pool, too. `kv`: the same on the device,
        [tokens, layers, kv_heads, 2 * head_dim]."""
        if len(kv) > self._room.num_tokens:
            return
        self._runs.pop(key, None)
        for gone in [one for one, (run, _) in self._runs.items() if run() is None]:
            del self._runs[gone]
        while (here := self._room.put(kv)) is None:
            self._runs.popitem(last=False)
            self.num_let_go += 1
        self._runs[key] = weakref.ref(in_pool), here

    def find(self, key: str, in_pool: TokenRun) -> TokenRun | None:
        """Where a segment lies here, to be placed; None where it does not."""
        run, here = self._runs.get(key, (None, None))
        if run is None or run() is not in_pool:
            return None
        self._runs.move_to_end(key)
        self.num_read += 1
        return here

    def join(self) -> None:
        """What the device does from now on in its main queue is done after all writes."""
        self._room.join()
