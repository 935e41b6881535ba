"""Writes records to one tier in the background, through a bounded queue."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onlooker.cache_store.codecs.base import KvCodec
from onlooker.cache_store.envelope import EncodedRecord, transcode
from onlooker.cache_store.erasure import Erasure
from onlooker.cache_store.key import SegmentKey
from onlooker.cache_store.tier import PutOutcome, StoreTier

logger = logging.getLogger(__name__)

OnWritten = Callable[[Sequence[SegmentKey]], None]


@dataclass(frozen=True, slots=True)
class QueueStats:
    """What waits to be written to one tier now, and totals of what did not go smoothly."""

    num_records: int
    num_bytes: int
    refused: int
    """Records for which the queue had no room."""
    retried: int
    failed: int
    """Records given up because the tier refused them, or failed each time."""


@dataclass(slots=True, eq=False)
class _Job:
    record: EncodedRecord
    attempts: int = 0


class WriteOut:
    """One tier's queue and its writer thread. Safe to call from any thread.

    A record can be read from the queue until its write has ended, so that it is always somewhere.
    When a tier fails, which is not to refuse, it is tried again after `retry_s`, up to
    `max_attempts` times in all. Meanwhile the queue fills, and `offer` says no once it is full.

    Args:
        max_bytes: limit for the records that wait or are being written.
        max_records: limit for the number of these records.
        batch_bytes: a batch ends before it exceeds this, unless a single record does.
        batch_records: the most records that are handed to the tier at once.
    """

    def __init__(
        self,
        tier: StoreTier,
        *,
        codec: KvCodec,
        max_bytes: int,
        max_records: int,
        batch_bytes: int,
        batch_records: int,
        max_attempts: int,
        retry_s: float,
    ) -> None:
        self.tier = tier
        self.codec = codec
        self._max_bytes = max_bytes
        self._max_records = max_records
        self._batch_bytes = batch_bytes
        self._batch_records = batch_records
        self._max_attempts = max_attempts
        self._retry_s = retry_s
        self._changed = threading.Condition()
        self._waiting: OrderedDict[SegmentKey, _Job] = OrderedDict()
        self._writing: dict[SegmentKey, _Job] = {}
        self._cancelled: set[SegmentKey] = set()
        self._num_bytes = 0
        self._is_busy = False
        self._closing = False
        self._refused = self._retried = self._failed = 0
        self._thread: threading.Thread | None = None
        self._on_stored: OnWritten = lambda keys: None
        self._on_failed: OnWritten = lambda keys: None

    def start(self, *, on_stored: OnWritten, on_failed: OnWritten) -> None:
        """Start the writer. Both callbacks run in its thread, without any lock held: `on_stored`
        with keys that can now be read from the tier and still from the queue, `on_failed` with
        those that were given up and are no longer in the queue."""
        self._on_stored, self._on_failed = on_stored, on_failed
        self._thread = threading.Thread(
            target=self._run, name=f"write-out-{self.tier.name}", daemon=True
        )
        self._thread.start()

    def offer(self, record: EncodedRecord) -> bool:
        """Queue a record, in place of one of its key that waits. Returns False when the queue is
        full."""
        with self._changed:
            replaced = self._waiting.get(record.key)
            freed_bytes = replaced.record.resident_bytes if replaced else 0
            num_records = len(self._waiting) + len(self._writing) + (0 if replaced else 1)
            if (
                self._closing
                or num_records > self._max_records
                or self._num_bytes - freed_bytes + record.resident_bytes > self._max_bytes
            ):
                self._refused += 1
                return False
            self._waiting[record.key] = _Job(record)
            self._num_bytes += record.resident_bytes - freed_bytes
            self._changed.notify_all()
            return True

    def get(self, key: SegmentKey) -> EncodedRecord | None:
        """The newest record of `key` that is still to be written."""
        with self._changed:
            job = self._waiting.get(key) or self._writing.get(key)
            return job.record if job is not None and key not in self._cancelled else None

    def keys(self, prefix: str) -> list[SegmentKey]:
        """The keys still to be written whose text starts with `prefix`."""
        with self._changed:
            keys = {*self._waiting, *self._writing} - self._cancelled
        return sorted(key for key in keys if key.text.startswith(prefix))

    def discard(self, erasure: Erasure, timeout_s: float) -> bool:
        """Forget what waits of an erasure, and wait until none of it is being written. Returns
        False when a write still hangs after `timeout_s`; what it wrote is then in the tier."""
        with self._changed:
            for key in erasure.found(self._waiting):
                self._num_bytes -= self._waiting.pop(key).record.resident_bytes
            self._cancelled.update(erasure.found(self._writing))
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not erasure.found(self._writing), timeout_s)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was offered is written or given up. Returns False when time ran
        out."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._waiting and not self._is_busy, timeout_s
            )

    def stats(self) -> QueueStats:
        """What waits now, and totals since the start."""
        with self._changed:
            return QueueStats(
                num_records=len(self._waiting) + len(self._writing),
                num_bytes=self._num_bytes,
                refused=self._refused,
                retried=self._retried,
                failed=self._failed,
            )

    def check_integrity(self) -> None:
        """Assert what must always hold. For tests."""
        with self._changed:
            jobs = [*self._waiting.values(), *self._writing.values()]
            assert self._num_bytes == sum(job.record.resident_bytes for job in jobs)
            assert self._num_bytes <= self._max_bytes
            assert len(jobs) <= self._max_records
            assert self._cancelled <= self._writing.keys()

    def close(self, timeout_s: float) -> bool:
        """Stop after the batch that is being written; what still waits is not written. Returns
        False when the batch still hangs after `timeout_s`: then the tier is still in use."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # ---- the writer thread ----

    def _run(self) -> None:
        while jobs := self._next_batch():
            try:
                outcomes = self.tier.put_many([transcode(job.record, self.codec) for job in jobs])
            except Exception:  # a fault in a tier must not end all writing
                logger.exception("a tier failed to write", extra={"tier": self.tier.name})
                outcomes = [PutOutcome.REFUSED] * len(jobs)
            stored = [
                job.record.key
                for job, outcome in zip(jobs, outcomes, strict=True)
                if outcome is PutOutcome.STORED
            ]
            again = [
                job
                for job, outcome in zip(jobs, outcomes, strict=True)
                if outcome is PutOutcome.ERROR and job.attempts < self._max_attempts
            ]
            done = {*stored, *(job.record.key for job in again)}
            failed = [job.record.key for job in jobs if job.record.key not in done]
            self._tell(self._on_stored, stored)
            self._end_batch(again, num_failed=len(failed))
            self._tell(self._on_failed, failed)
            self._rest(self._retry_s if again else 0.0)

    def _next_batch(self) -> list[_Job]:
        """Wait for work and take it; nothing when the queue is closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if self._closing:
                return []
            num_bytes = 0
            while self._waiting and len(self._writing) < self._batch_records:
                key, job = next(iter(self._waiting.items()))
                num_bytes += job.record.resident_bytes
                if self._writing and num_bytes > self._batch_bytes:
                    break
                self._writing[key] = self._waiting.pop(key)
                self._is_busy = True
                job.attempts += 1
            return list(self._writing.values())

    def _end_batch(self, again: Sequence[_Job], *, num_failed: int) -> None:
        with self._changed:
            finished, self._writing = self._writing, {}
            self._num_bytes -= sum(job.record.resident_bytes for job in finished.values())
            self._failed += num_failed
            for job in reversed(again):
                key = job.record.key
                # A newer record of the key, or its deletion, makes this one void.
                if key not in self._waiting and key not in self._cancelled:
                    self._waiting[key] = job
                    self._waiting.move_to_end(key, last=False)
                    self._num_bytes += job.record.resident_bytes
                    self._retried += 1
            self._cancelled.clear()

    def _rest(self, pause_s: float) -> None:
        with self._changed:
            self._is_busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closing, pause_s)

    def _tell(self, callback: OnWritten, keys: Sequence[SegmentKey]) -> None:
        if not keys:
            return
        try:
            callback(keys)
        except Exception:
            logger.exception("a listener failed", extra={"tier": self.tier.name})
