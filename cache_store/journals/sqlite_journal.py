"""`SqliteJournal`: the frame journal on this machine, in one SQLite file.

    frames.sqlite        a `FrameTable`
    frames.sqlite-wal    what was committed last; copied into the other now and then

An entry has a digest of its own (`journal_entry`), since SQLite checks only its log. One commit
takes all changes of a call. How often the medium is waited for is the policy: with ``always`` at
each commit, with ``every_second`` by a thread, else only where the log is copied. A loss of power
never damages the file, it only takes the commits of which the medium had not heard.
"""

import contextlib
import logging
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from onlooker.cache_store.config import SyncPolicy
from onlooker.cache_store.files import Files, lock_folder
from onlooker.cache_store.journal import (
    Change,
    DurableMark,
    JournalReceipt,
    JournalStats,
    JournalUnreachable,
    NewEntry,
    check_name,
    touched,
)
from onlooker.cache_store.journal_entry import (
    MAX_PAYLOAD_BYTES,
    JournalEntry,
)
from onlooker.cache_store.journals.frame_table import TABLES, FrameTable
from onlooker.cache_store.journals.old_folder import OldFolder
from onlooker.cache_store.sqlite_file import (
    LOG_SUFFIX,
    FileDamaged,
    copy_log,
    give_back,
    is_damage,
    open_file,
    put_aside,
    wipe,
)
from onlooker.core.guarantee import Guarantee

logger = logging.getLogger(__name__)

FILE = "frames.sqlite"

_TICK_S = 1.0

_GUARANTEES = {
    SyncPolicy.ALWAYS: Guarantee.MACHINE,
    SyncPolicy.EVERY_SECOND: Guarantee.SECOND,
    SyncPolicy.NEVER: Guarantee.PROCESS,
}
_NOTHING = JournalReceipt(Guarantee.NONE, None)


@dataclass(slots=True)
class _Batch:
    """What a commit that is not done yet changes."""

    num_bytes: int
    num_streams: int
    """What the journal holds with these changes."""
    grown: Counter[str] = field(default_factory=Counter)
    """By how many bytes the streams grow."""
    counts: Counter[str] = field(default_factory=Counter)

    def grow(self, stream: str, num_bytes: int) -> None:
        self.grown[stream] += num_bytes
        self.num_bytes += num_bytes


class SqliteJournal:
    """See `FrameJournal`.

    Args:
        max_bytes: limit for the frames of all streams; those beyond it are taken without a
            guarantee. The files may take `wal_bytes` and the room of a former peak on top.
        max_streams: how many streams may be in the journal at once; frames of others are taken
            without a guarantee.
        wal_bytes: the size at which SQLite's log is copied into its file.
        files: the calls of the operating system by which the log is synced; tests hand in failing
            ones.

    Raises:
        StoreLocked: another process has the folder open.
        OSError, sqlite3.Error: the folder or the file cannot be made or read.
    """

    is_shared = False

    def __init__(
        self,
        root: Path,
        *,
        max_bytes: int,
        max_streams: int,
        sync: SyncPolicy,
        wal_bytes: int,
        files: Files | None = None,
    ) -> None:
        self._path = root / FILE
        self._max_bytes, self._max_streams = max_bytes, max_streams
        self._sync, self._wal_bytes = sync, wal_bytes
        self._files = files or Files()
        self._lock = threading.Lock()
        self._counts = Counter[str]()
        self._held = dict[str, int]()
        """Bytes of frames by stream; none is 0."""
        self._is_unsynced = self._has_remains = False
        self._stopping = threading.Event()
        self._ticker = threading.Thread(target=self._run, name="journal-tick", daemon=True)
        self._lock_descriptor = lock_folder(root, setting="cache_store.journal.path")
        try:
            self._database = self._opened()
            self._table = FrameTable(self._database)
            self._count_held()
            self._take_over(OldFolder(root))
        except BaseException:
            os.close(self._lock_descriptor)
            raise

    @property
    def guarantee(self) -> Guarantee:
        return _GUARANTEES[self._sync]

    def start(self) -> None:
        """Start to do `tick` every second."""
        self._ticker.start()

    def write(self, changes: Sequence[Change]) -> list[JournalReceipt]:
        for change in changes:
            check_name(change.stream)
        with self._lock:
            batch = _Batch(sum(self._held.values()), len(self._held))
            try:
                with self._table.changing():
                    receipts = [self._make(change, batch) for change in changes]
            except sqlite3.Error as error:
                logger.warning("frames cannot be journaled", extra={"error": str(error)})
                self._counts["errors"] += sum(isinstance(one, NewEntry) for one in changes)
                return [_NOTHING] * len(changes)
            self._is_unsynced = True
            self._counts.update(batch.counts)
            for stream, num_bytes in batch.grown.items():
                self._grow(stream, num_bytes)
        return receipts

    def replay(
        self, stream: str, *, after: int = -1, max_bytes: int | None = None
    ) -> list[JournalEntry]:
        entries: list[JournalEntry] = []
        num_bytes = 0
        with self._lock:
            for position in self._positions(stream, after):
                entry = self._table.read(position)
                if entry is None:
                    self._counts["damaged"] += 1
                    continue
                entries.append(entry)
                num_bytes += len(entry.payload)
                if max_bytes is not None and num_bytes > max_bytes:
                    break
        return entries

    def newest_s(self, stream: str) -> float | None:
        with self._lock:
            try:
                return self._table.newest_s(stream)
            except sqlite3.Error as error:
                raise JournalUnreachable(str(error)) from error

    def streams(self) -> list[str]:
        with self._lock:
            return sorted(self._held)

    def delete(self, stream: str, *, epoch: int | None = None) -> None:
        with self._lock:
            try:
                self._table.delete_stream(stream)
            except sqlite3.Error as error:
                logger.warning("a stream's frames stay behind", extra={"error": str(error)})
                self._counts["errors"] += 1
                return
            self._held.pop(stream, None)
            self._has_remains = True

    def forget(
        self,
        stream: str,
        start_s: float,
        end_s: float,
        sequences: Collection[int] = (),
        *,
        epoch: int | None = None,
    ) -> tuple[int, int]:
        with self._lock:
            try:
                rows = self._table.rows(stream)
                gone = touched(((row[1], row[2]) for row in rows), start_s, end_s, sequences)
                leaving = [row for row in rows if row[1] in gone]
                with self._table.changing():
                    self._table.delete(leaving)
            except sqlite3.Error as error:
                raise JournalUnreachable(str(error)) from error
            num_bytes = sum(row[3] for row in leaving)
            self._grow(stream, -num_bytes)
            # Also where nothing is left of the span: frames that were let go of may be in the log.
            self._has_remains = True
            if leaving or sequences:
                self._wipe()
        return len(leaving), num_bytes

    def tick(self) -> None:
        """What is to be done every second: force what was written to the medium where the policy
        says so, leave no trace of what was forgotten, and give back room. What fails is tried
        again."""
        if self._sync is SyncPolicy.EVERY_SECOND:
            self._sync_log()
        with self._lock:
            if self._has_remains:
                self._wipe()
            with contextlib.suppress(sqlite3.Error):
                give_back(self._database)

    def stats(self) -> JournalStats:
        with self._lock:
            return JournalStats(
                appended=self._counts["appended"],
                refused=self._counts["refused"],
                errors=self._counts["errors"],
                fenced=0,
                marked=self._counts["marked"],
                syncs=self._counts["syncs"],
                damaged=self._counts["damaged"],
                num_streams=len(self._held),
                num_bytes=sum(self._held.values()),
            )

    def close(self) -> None:
        self._stopping.set()
        if self._ticker.is_alive():
            self._ticker.join()
        self.tick()
        with self._lock:
            with contextlib.suppress(sqlite3.Error):
                copy_log(self._database)
            self._database.close()
        os.close(self._lock_descriptor)

    # ---- changes; the lock is held ----

    def _make(self, change: Change, batch: _Batch) -> JournalReceipt:
        if isinstance(change, DurableMark):
            self._let_go(change, batch)
            return _NOTHING
        is_known = change.stream in self._held or change.stream in batch.grown
        has_room = (
            batch.num_bytes + change.num_bytes <= self._max_bytes
            and (is_known or batch.num_streams < self._max_streams)
            and len(change.payload) <= MAX_PAYLOAD_BYTES
        )
        if change.is_look and not (has_room and is_known):
            return _NOTHING
        if not has_room:
            batch.counts["refused"] += 1
            return _NOTHING
        position = self._table.insert(change)
        batch.num_streams += not is_known
        batch.grow(change.stream, change.num_bytes)
        if change.is_look:
            return _NOTHING
        batch.counts["appended"] += 1
        return JournalReceipt(self.guarantee, position)

    def _let_go(self, mark: DurableMark, batch: _Batch) -> None:
        num_frames, num_bytes = self._table.delete_up_to(mark.stream, mark.position)
        if num_frames:
            batch.grow(mark.stream, -num_bytes)
            batch.counts["marked"] += num_frames

    def _grow(self, stream: str, num_bytes: int) -> None:
        held = self._held.get(stream, 0) + num_bytes
        if held:
            self._held[stream] = held
        else:
            self._held.pop(stream, None)

    # ---- reading; the lock is held ----

    def _positions(self, stream: str, after: int) -> list[int]:
        try:
            return self._table.positions(stream, after)
        except sqlite3.DatabaseError as error:
            logger.exception("the journal is damaged: a stream's frames cannot be read")
            if is_damage(error):
                self._counts["damaged"] += 1
                return []
            raise JournalUnreachable(str(error)) from error

    # ---- the file ----

    def _opened(self) -> sqlite3.Connection:
        opened = partial(
            open_file,
            self._path,
            tables=TABLES,
            waits_for_medium=self._sync is SyncPolicy.ALWAYS,
            wal_bytes=self._wal_bytes,
        )
        try:
            database = opened()
        except FileDamaged as error:
            logger.error(
                "the journal's file is damaged and was put aside: frames that were acknowledged "
                "and whose segments were not stored yet are lost",
                extra={"error": str(error), "file": put_aside(self._path).name},
            )
            self._counts["damaged"] += 1
            database = opened()
        self._files.sync_path(self._path.parent)
        return database

    def _count_held(self) -> None:
        for stream, num_bytes in self._table.sizes():
            self._grow(stream, num_bytes)

    def _take_over(self, old: OldFolder) -> None:
        """Take what a version before SQLite left. Should this end half-way it is done anew."""
        if not old.is_there:
            return
        num_frames = 0
        with self._table.changing():
            for stream in old.streams():
                self._table.delete_stream(stream)
                self._held.pop(stream, None)
                for frame in old.frames(stream):
                    self._table.insert(frame)
                    self._grow(stream, frame.num_bytes)
                    num_frames += 1
        copy_log(self._database)
        old.remove()
        logger.info(
            "took the frames over from the files of an earlier version",
            extra={"frames": num_frames},
        )

    def _wipe(self) -> None:
        try:
            wipe(self._database)
        except sqlite3.Error as error:
            logger.warning("deleted frames are wiped later", extra={"error": str(error)})
            self._counts["errors"] += 1
        else:
            self._has_remains = False

    def _sync_log(self) -> None:
        if not self._is_unsynced:
            return
        self._is_unsynced = False  # before: what is committed meanwhile is synced the next time
        try:
            self._files.sync_path(self._path.with_name(FILE + LOG_SUFFIX))
        except FileNotFoundError:
            return  # it was copied and synced as a whole
        except OSError as error:
            self._is_unsynced = True
            logger.warning("cannot sync the journal", extra={"error": str(error)})
            self._count("errors")
        else:
            self._count("syncs")

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_S):
            self.tick()


def has_frames(root: Path) -> bool:
    """Whether a journal in a file left anything in a folder. Opens nothing."""
    return OldFolder(root).is_there or (root / FILE).is_file()
