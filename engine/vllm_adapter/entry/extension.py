"""What the gateway may ask of a worker beside requests, through vLLM's ``collective_rpc``."""

from typing import Any

from vllm.distributed.kv_transfer import get_kv_transfer_group


class SegmentExtension:
    """Mixed into vLLM's worker class (``worker_extension_cls``)."""

    def drop_segments(self, keys: list[str]) -> int:
        """Forget segments; returns how many were held ready."""
        return int(self._segments().arena.drop(keys))

    def drop_stream(self, prefix: str, forget: bool) -> int:
        """Let go of a stream's segments; with `forget`, in the store below too."""
        worker = self._segments()
        if forget and worker.vault is not None:
            worker.vault.forget_stream(prefix)
        return int(worker.arena.drop_prefix(prefix))

    def missing_segments(self, keys: list[str]) -> list[str]:
        """Which of `keys` can be read nowhere."""
        missing: list[str] = self._segments().arena.missing(keys)
        return missing

    def stored_generations(self, prefix: str) -> tuple[list[int], bool]:
        """The lives of a stream that the store knows; see `Vault.generations`."""
        vault = self._segments().vault
        return ([], True) if vault is None else vault.generations(prefix)

    def restore_stream(self, prefix: str) -> tuple[list[tuple[str, dict[str, Any]]], bool]:
        """Know a stored life of a stream again; returns keys and what a prompt needs of each, and
        whether that is all of it."""
        worker = self._segments()
        if worker.vault is None:
            return [], True
        rows, is_complete = worker.vault.rows(prefix)
        for key, _, entries in rows:
            if entries is not None:
                worker.arena.add_entries(key, entries)
        return [(key, plain) for key, plain, _ in rows], is_complete

    def flush_segments(self, timeout_s: float) -> bool:
        """Wait until all is written that was handed over to the store."""
        vault = self._segments().vault
        return vault is None or bool(vault.flush(timeout_s))

    def take_stock(self, keys: list[str]) -> tuple[list[str], dict[str, dict[str, int]]]:
        """Which of `keys` would not outlive this process, and the store's totals by tier."""
        vault = self._segments().vault
        return (keys, {}) if vault is None else (vault.undurable(keys), vault.totals())

    def segment_stats(self) -> dict[str, Any]:
        """Counts and bytes; ``tiers`` is what each tier of the store below tells of itself."""
        worker = self._segments()
        arena, vault = worker.arena, worker.vault
        return {
            "segments": len(arena),
            "bytes": arena.num_bytes,
            "fetched": arena.num_fetched,
            "tiers": {} if vault is None else vault.tier_stats(),
            "moves": {} if vault is None else vault.moves(),
            "index_rows": len(arena.index),
            "index_bytes": arena.index.num_bytes,
            "index_row_bytes": arena.index.max_row_bytes,
        }

    def _segments(self) -> Any:
        return get_kv_transfer_group().segment_worker
