"""Records as files in a folder that this process has to itself, within a budget.

`tiers/disk_layout.py` says where each file lies and why. STORED means that a record survives a
crash of the process and, with `sync`, a loss of power.
"""

import contextlib
import itertools
import logging
import os
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path

from onlooker.cache_store.counters import TierCounters
from onlooker.cache_store.daemon_pool import DaemonPool
from onlooker.cache_store.envelope import (
    PREFIX_BYTES,
    EncodedRecord,
    PayloadDigest,
    head_bytes_needed,
    seal,
    unseal,
    unseal_head,
)
from onlooker.cache_store.errors import RecordCorrupt, RecordForeign
from onlooker.cache_store.eviction import EvictionPolicy
from onlooker.cache_store.files import Files, is_no_room, lock_folder
from onlooker.cache_store.head import SegmentHead
from onlooker.cache_store.key import SegmentKey
from onlooker.cache_store.key_index import KeyIndex
from onlooker.cache_store.tier import MISS, Fetch, FetchOutcome, PutOutcome, TierStats
from onlooker.cache_store.tiers.disk_layout import (
    list_records,
    path_of,
    records_folder,
    temporary_path,
)

logger = logging.getLogger(__name__)

OnEvicting = Callable[[Sequence[SegmentKey], Callable[[SegmentKey], EncodedRecord | None]], None]
"""Gets the keys of records that are about to be evicted, and a function that reads one of them."""

_MIN_PARALLEL_BYTES = 1 << 20
"""Smaller batches are read in one thread: handing them to others costs more than it saves."""

_FIRST_PROBE_BYTES = 4096
"""What a scan reads of each file at first. It grows to the largest head that is met."""


class DiskTier:
    """See `StoreTier`. Reads go on while a batch is written; writes and deletions take turns.

    Args:
        budget_bytes: limit for the sizes of all files together.
        sync: whether a record counts as stored only once it is on the medium.
        read_threads: how many threads share a large read; one alone leaves a disk half idle.
        files: the calls of the operating system; tests hand in failing ones.
        on_evicting: called in the writing thread before victims are removed.

    Raises:
        StoreLocked: another process has the folder open.
        OSError: the folder cannot be made or read.
    """

    name = "disk"
    knows_keys = True

    def __init__(
        self,
        root: Path,
        *,
        budget_bytes: int,
        policy: EvictionPolicy,
        sync: bool = True,
        read_threads: int = 4,
        files: Files | None = None,
        on_evicting: OnEvicting | None = None,
    ) -> None:
        self.budget_bytes = budget_bytes
        self.on_evicting = on_evicting
        self._root = root
        self._policy = policy
        self._sync = sync
        self._read_threads = read_threads
        self._readers = DaemonPool(read_threads, name="segment-reader")
        self._files = files or Files()
        self._write_lock = threading.RLock()
        self._index_lock = threading.Lock()  # taken last, held briefly, never during I/O
        self._sizes: KeyIndex[int] = KeyIndex()
        self._used_bytes = 0
        self._probe_bytes = _FIRST_PROBE_BYTES
        self._temporary_numbers = itertools.count()
        self._counters = TierCounters()
        self._lock_descriptor = lock_folder(root, setting="cache_store.disk.path")
        self._open()

    def get_many(self, keys: Sequence[SegmentKey]) -> list[Fetch]:
        fetches = self._get_all(keys)
        self._counters.add_fetches(fetches)
        return fetches

    def put_many(self, records: Sequence[EncodedRecord]) -> list[PutOutcome]:
        sealed = [seal(record) for record in records]
        sizes = [len(head) + payload.nbytes for head, payload in sealed]
        with self._write_lock:
            self._make_room(min(sum(sizes), self.budget_bytes))
            written: list[Path | None] = []
            outcomes: list[PutOutcome] = []
            for record, parts, size in zip(records, sealed, sizes, strict=True):
                path, outcome = self._write_temporary(record.key, parts, size)
                written.append(path)
                outcomes.append(outcome)
            self._publish(records, sizes, written, outcomes)
        self._counters.add_puts(outcomes, sizes)
        return outcomes

    def delete_many(self, keys: Sequence[SegmentKey]) -> bool:
        with self._write_lock:
            removed = [self._remove(key) for key in keys if key in self._sizes]
        self._counters.add(deleted=sum(removed))
        return all(removed)

    def contains_many(self, keys: Sequence[SegmentKey]) -> list[bool | None]:
        with self._index_lock:
            return [key in self._sizes for key in keys]

    def keys(self, prefix: str = "") -> list[SegmentKey]:
        with self._index_lock:
            return self._sizes.keys(prefix)

    def scan(
        self, prefix: str = "", *, skip: Container[SegmentKey] = ()
    ) -> Iterator[SegmentHead | None]:
        num_unreadable = 0
        for key in self.keys(prefix):
            if key in skip:
                continue
            try:
                yield self._read_head(key)
            except FileNotFoundError:
                continue  # evicted meanwhile
            except OSError:
                self._counters.add(read_errors=1)
                num_unreadable += 1
            except RecordCorrupt:
                self._counters.add(corrupt=1)
                self._remove_corrupt(key)
                num_unreadable += 1
            except RecordForeign:
                self._counters.add(foreign=1)
                num_unreadable += 1
        if num_unreadable:
            yield None

    def used_bytes(self) -> int:
        return self._used_bytes

    def stats(self) -> TierStats:
        return self._counters.snapshot(num_records=len(self._sizes), used_bytes=self._used_bytes)

    def check_integrity(self) -> None:
        """Assert that the index matches the folder. For tests, while nothing is being written."""
        with self._write_lock, self._index_lock:
            sizes = dict(self._sizes.items())
            leftovers: list[Path] = []
            files = list_records(self._root, leftovers=leftovers)
            found = {file.key: file.num_bytes for file in files}
            assert found == sizes
            assert sum(sizes.values()) == self._used_bytes <= self.budget_bytes
            assert set(self._policy.victims(1 << 62)) == sizes.keys()
            assert leftovers == []

    def close(self) -> None:
        self._readers.shutdown()
        with self._write_lock:
            os.close(self._lock_descriptor)

    # ---- opening ----

    def _open(self) -> None:
        try:
            records_folder(self._root).mkdir(exist_ok=True)
            leftovers: list[Path] = []
            files = list_records(self._root, leftovers=leftovers)
            for file in sorted(files, key=lambda file: file.modified_ns):
                self._add(file.key, file.num_bytes)
            for path in leftovers:
                path.unlink()
            self._make_room(0)
        except BaseException:
            os.close(self._lock_descriptor)
            raise

    # ---- reading ----

    def _get_all(self, keys: Sequence[SegmentKey]) -> list[Fetch]:
        if len(keys) < 2 or sum(self._size_of(key) for key in keys) < _MIN_PARALLEL_BYTES:
            return [self._get(key) for key in keys]
        shares = [keys[start :: self._read_threads] for start in range(self._read_threads)]
        read = list(self._readers.map(lambda share: [self._get(key) for key in share], shares))
        count = self._read_threads
        return [read[place % count][place // count] for place in range(len(keys))]

    def _get(self, key: SegmentKey) -> Fetch:
        with self._index_lock:
            if key not in self._sizes:
                return MISS
            self._policy.used(key)
        try:
            return Fetch(FetchOutcome.HIT, self._read(key))
        except FileNotFoundError:
            return MISS  # evicted meanwhile
        except OSError as error:
            logger.warning("cannot read a record", extra={"error": str(error)})
            return Fetch(FetchOutcome.ERROR)
        except RecordCorrupt:
            self._remove_corrupt(key)
            return Fetch(FetchOutcome.CORRUPT)
        except RecordForeign:
            return Fetch(FetchOutcome.FOREIGN)

    def _read_head(self, key: SegmentKey) -> SegmentHead:
        path = path_of(self._root, key)
        data, size = self._files.read(path, self._probe_bytes)
        needed = head_bytes_needed(data[:PREFIX_BYTES])
        if needed > len(data) and size > len(data):
            self._probe_bytes = max(self._probe_bytes, min(needed, size))
            data, size = self._files.read(path, needed)
        return unseal_head(data, key, total_bytes=size)

    def _read_quietly(self, key: SegmentKey) -> EncodedRecord | None:
        with contextlib.suppress(OSError, RecordCorrupt, RecordForeign):
            return self._read(key)
        return None

    def _read(self, key: SegmentKey) -> EncodedRecord:
        digest = PayloadDigest()
        data = self._files.read_in_parts(path_of(self._root, key), digest.take)
        return unseal(data, key, digest.digest())

    def _remove_corrupt(self, key: SegmentKey) -> None:
        with self._write_lock:
            try:
                self._read(key)
            except RecordCorrupt:  # it is still damaged: nobody wrote it anew meanwhile
                self._remove(key)
            except (OSError, RecordForeign):
                return

    # ---- writing, all under the write lock ----

    def _write_temporary(
        self, key: SegmentKey, parts: tuple[bytes, memoryview], size: int
    ) -> tuple[Path | None, PutOutcome]:
        if size > self.budget_bytes:
            return None, PutOutcome.REFUSED
        folder = path_of(self._root, key).parent
        path = temporary_path(folder, next(self._temporary_numbers))
        try:
            self._make_folder(folder)
            self._files.create(path, parts)
        except OSError as error:
            return None, _write_failure(error)
        return path, PutOutcome.STORED

    def _publish(
        self,
        records: Sequence[EncodedRecord],
        sizes: Sequence[int],
        written: Sequence[Path | None],
        outcomes: list[PutOutcome],
    ) -> None:
        """Give the written files their names, then force the names to the disk too."""
        folders: dict[Path, list[int]] = {}
        for place, (record, size, path) in enumerate(zip(records, sizes, written, strict=True)):
            if path is None:
                continue
            try:
                if self._sync:
                    self._files.sync_path(path)
                target = path_of(self._root, record.key)
                self._make_room(size - self._size_of(record.key))
                self._files.rename(path, target)
            except OSError as error:
                outcomes[place] = _write_failure(error)
                with contextlib.suppress(OSError):
                    path.unlink()
                continue
            self._add(record.key, size)
            folders.setdefault(target.parent, []).append(place)
        for folder, places in folders.items() if self._sync else ():
            try:
                self._files.sync_path(folder)
            except FileNotFoundError:
                continue  # its records were evicted for later ones of the same batch
            except OSError as error:
                for place in places:
                    outcomes[place] = _write_failure(error)
                    self._remove(records[place].key)

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        if self._sync:
            self._files.sync_path(folder.parent)

    def _make_room(self, needed_bytes: int) -> None:
        with self._index_lock:
            excess_bytes = self._used_bytes + needed_bytes - self.budget_bytes
            if excess_bytes <= 0:
                return
            victims = self._policy.victims(excess_bytes)
        if self.on_evicting is not None:
            self.on_evicting(victims, self._read_quietly)
        before_bytes = self._used_bytes
        num_evicted = sum(self._remove(key) for key in victims)
        self._counters.add(evicted=num_evicted, evicted_bytes=before_bytes - self._used_bytes)

    def _add(self, key: SegmentKey, size: int) -> None:
        with self._index_lock:
            self._used_bytes += size - (self._sizes.get(key) or 0)
            self._sizes.set(key, size)
            self._policy.added(key, size)

    def _size_of(self, key: SegmentKey) -> int:
        with self._index_lock:
            return self._sizes.get(key) or 0

    def _remove(self, key: SegmentKey) -> bool:
        """Remove the file and the entry of a record. Returns False when the file is still there."""
        path = path_of(self._root, key)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("cannot remove a record", extra={"error": str(error)})
            return False
        with self._index_lock:
            size = self._sizes.pop(key)
            if size is not None:
                self._used_bytes -= size
                self._policy.removed(key)
        for folder in list(path.parents)[:5]:
            try:
                folder.rmdir()
            except OSError:
                break  # most often because it is not empty
        return True


def _write_failure(error: OSError) -> PutOutcome:
    if is_no_room(error):
        return PutOutcome.REFUSED
    logger.warning("cannot write a record", extra={"error": str(error)})
    return PutOutcome.ERROR
