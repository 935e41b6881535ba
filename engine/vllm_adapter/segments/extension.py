"""What the gateway may ask of a worker beside requests, through vLLM's ``collective_rpc``."""

from typing import Any

from vllm.distributed.kv_transfer import get_kv_transfer_group


class SegmentExtension:
    """Mixed into vLLM's worker class (``worker_extension_cls``)."""

    def drop_segments(self, keys: list[str]) -> int:
        """Forget segments; returns how many there were."""
        return int(self._segment_arena().drop(keys))

    def drop_segments_of(self, prefix: str) -> int:
        """Forget every segment whose key begins with `prefix`."""
        return int(self._segment_arena().drop_prefix(prefix))

    def missing_segments(self, keys: list[str]) -> list[str]:
        """Which of `keys` are not held."""
        arena = self._segment_arena()
        return [key for key in keys if arena.get(key) is None]

    def segment_stats(self) -> dict[str, int]:
        """Counts and bytes."""
        arena = self._segment_arena()
        return {"segments": len(arena), "bytes": arena.num_bytes}

    def _segment_arena(self) -> Any:
        return get_kv_transfer_group().segment_worker.arena
