"""`OtherShares`: notices streams that were stored by a model that was split otherwise.

Their records have other names, so that they are never read for ours. Whoever changes
``engine.vllm.tensor_parallel_size`` is to hear that memories are missed for it.
"""

import logging
from collections import Counter

from onlooker.cache_store.config import CacheStoreSection
from onlooker.cache_store.tiered_store import TieredStore
from onlooker.cache_store.tiers.disk_layout import records_folder
from onlooker.engine.vllm_adapter.worker.head_share import HeadShare
from onlooker.engine.vllm_adapter.worker.write_behind import WriteBehind

_log = logging.getLogger("onlooker.engine.vllm")

_SIZES = (1, 2, 4, 8)
"""Numbers of GPUs a model that are looked for."""

_MAX_REDIS_LOOKS = 16
"""Streams for which Redis is asked, since each look is a scan of all its keys. A setting that was
changed shows with the first ones."""


class OtherShares:
    """Looks for streams in a thread of its own: listing what a Redis has takes a while. One worker
    looks for all.

    Args:
        settings: of the stores of all workers together.
    """

    def __init__(self, share: HeadShare, settings: CacheStoreSection, store: TieredStore) -> None:
        self._share = share
        self._root = None if settings.disk is None else settings.disk.path
        self._redis_looks = 0 if settings.redis is None else _MAX_REDIS_LOOKS
        self._store = store
        self._thread = WriteBehind()
        self.found: Counter[str] = Counter()
        """By tier, how often a stream was there that cannot be read."""

    def look(self, prefix: str) -> None:
        """Look for a stream (``model/tenant/stream/``) of which nothing was found; returns at
        once."""
        if self._share.rank == 0 and (self._root is not None or self._redis_looks):
            self._thread.do(lambda: self._look(prefix))

    def settle(self) -> None:
        """Wait until all was looked for. For tests."""
        self._thread.settle()

    def close(self) -> None:
        """Stop looking."""
        self._thread.close()

    def _look(self, prefix: str) -> None:
        asks_redis = self._redis_looks > 0
        self._redis_looks -= asks_redis
        for size in _SIZES:
            if size == self._share.size:
                continue
            other = HeadShare(0, size)
            tiers = []
            if self._root is not None:
                folder = records_folder(other.folder(self._root)) / other.prefix(prefix)
                tiers += ["disk"] if any(folder.glob("*/*/*")) else []
            if asks_redis and self._store.streams(other.prefix(prefix))[0]:
                tiers.append("redis")
            self.found.update(tiers)
            if tiers:
                _log.warning(
                    "a stream's memory was stored by a model over another number of GPUs, and is "
                    "not read: set engine.vllm.tensor_parallel_size as it was to have it again",
                    extra={"was": size, "is": self._share.size, "tiers": tuple(tiers)},
                )
