"""What the server may ask of a worker beside requests; see `wire.WorkerCall`."""

from dataclasses import asdict
from functools import partial
from typing import Any

from onlooker.cache_store.leases import Claim
from onlooker.engine.vllm_adapter import seams
from onlooker.engine.vllm_adapter.wire import (
    MeasureOp,
    StoredLives,
    StoredSegments,
    WorkerStats,
    WorkerStock,
    read_compact_ops,
)
from onlooker.engine.vllm_adapter.worker.worker import SegmentWorker


class SegmentExtension:
    """Methods that are mixed into vLLM's worker class (``worker_extension_cls``). They answer in
    plain data."""

    def drop_segments(self, prefix: str, epoch: int, keys: list[str]) -> int:
        """Answers `wire.drop_segments`."""
        worker = self._worker()
        return 0 if worker.claims.has_passed(prefix, epoch) else worker.arena.drop(keys)

    def drop_stream(self, prefix: str, epoch: int, forget: bool) -> int:
        """Answers `wire.drop_stream`."""
        worker = self._worker()
        if worker.claims.has_passed(prefix, epoch):
            return 0
        if worker.stored_streams is not None:
            worker.stored_streams.forget(prefix)
        worker.compacting.forget(prefix)
        if forget and worker.vault is not None:
            worker.vault.forget_stream(prefix)
        return worker.arena.drop_prefix(prefix)

    def delete_segments(self, prefix: str, epoch: int, keys: list[str]) -> int:
        """Answers `wire.delete_segments`."""
        worker = self._worker()
        if worker.claims.has_passed(prefix, epoch):
            return 0
        if worker.vault is not None:
            worker.vault.delete(prefix, keys)
        return worker.arena.drop(keys)

    def unreached_tiers(self, prefix: str) -> list[str]:
        """Answers `wire.unreached_tiers`."""
        vault = self._worker().vault
        return [] if vault is None else vault.unreached(prefix)

    def missing_segments(self, name: str, keys: list[str] | None) -> list[str] | None:
        """Answers `wire.missing_segments`."""
        worker = self._worker()
        if keys is not None:
            worker.inquiries.begin(f"missing {name}", worker.missing(keys))
        found: list[str] | None = worker.inquiries.answer(f"missing {name}")
        return found

    def measure_segments(
        self, name: str, op: dict[str, Any] | None
    ) -> dict[str, list[float]] | None:
        """Answers `wire.measure_segments`."""
        return self._worker().compacting.measure(name, None if op is None else MeasureOp(**op))

    def compact_segments(self, name: str, ops: list[Any] | None) -> list[str] | None:
        """Answers `wire.compact_segments`."""
        return self._worker().compacting.compact(name, read_compact_ops(ops))

    def unwritten_segments(self, keys: list[str]) -> list[str]:
        """Answers `wire.unwritten_segments`."""
        vault = self._worker().vault
        return [] if vault is None else vault.unwritten(keys)

    def take_up_segments(self, keys: list[str]) -> None:
        """Answers `wire.take_up_segments`."""
        self._worker().compacting.take_up(keys)

    def own_stream(self, stream: str, epoch: int, is_handed_over: bool) -> None:
        """Answers `wire.own_stream`."""
        worker = self._worker()
        worker.claims.own(stream, epoch)
        if worker.vault is not None:
            worker.vault.own(stream, Claim(epoch, is_handed_over))

    def is_writing(self, prefix: str) -> bool:
        """See `wire.is_writing`."""
        vault = self._worker().vault
        return vault is not None and vault.is_writing(prefix)

    def stored_lives(self, prefix: str, is_first: bool) -> dict[str, Any] | None:
        """Answers `wire.stored_lives`."""
        worker = self._worker()
        if worker.vault is None:
            return asdict(StoredLives([], is_complete=True))
        if is_first:
            worker.inquiries.begin(f"lives {prefix}", partial(worker.vault.generations, prefix))
        found = worker.inquiries.answer(f"lives {prefix}")
        return None if found is None else asdict(StoredLives(*found))

    def restore_stream(self, prefix: str, is_first: bool) -> dict[str, Any]:
        """Answers `wire.restore_stream`."""
        streams = self._worker().stored_streams
        if streams is None:
            return asdict(StoredSegments([], is_complete=True, is_done=True))
        return asdict(streams.next(prefix, is_first=is_first))

    def flush_segments(self, timeout_s: float) -> bool:
        """Answers `wire.flush_segments`."""
        vault = self._worker().vault
        return vault is None or vault.flush(timeout_s)

    def worker_stock(self, keys: list[str]) -> dict[str, Any]:
        """Answers `wire.worker_stock`."""
        vault = self._worker().vault
        is_kept = vault is None or vault.is_kept()
        undurable = keys if vault is None else vault.undurable(keys)
        return asdict(WorkerStock(undurable, self._stats(), is_kept=is_kept))

    def worker_stats(self) -> dict[str, Any]:
        """Answers `wire.worker_stats`."""
        return asdict(self._stats())

    def _stats(self) -> WorkerStats:
        worker = self._worker()
        arena, vault = worker.arena, worker.vault
        return WorkerStats(
            segments=len(arena),
            bytes=arena.num_bytes,
            fetched=arena.num_fetched,
            tiers={} if vault is None else vault.totals(),
            moves=worker.moves(),
            index_rows=len(arena.index),
            index_bytes=arena.index.num_bytes,
            index_row_bytes=arena.index.max_row_bytes,
            index_coarse_bytes=arena.index.max_coarse_bytes,
            token_bytes=arena.token_bytes,
        )

    def _worker(self) -> SegmentWorker:
        worker = seams.worker_connector().segment_worker
        assert isinstance(worker, SegmentWorker)
        return worker
