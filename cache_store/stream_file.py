"""`StreamFile`: a SQLite file whose rows belong to streams, and the room that each stream takes.

An album and a diary are one each. One process has the file's folder at a time; without a folder the
rows are in memory. What was written in the last second may be missing after a crash.
"""

import contextlib
import logging
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from onlooker.cache_store.files import lock_folder
from onlooker.cache_store.sqlite_file import FileDamaged, copy_log, give_back, open_file, put_aside

logger = logging.getLogger(__name__)


class StreamFile:
    """Everything but `reached` and `close` is used with the lock held.

    Args:
        root: a folder that no other process uses; None keeps the rows in memory.
        file: the file's name.
        setting: names the folder, where another process has it.
        damaged: what the log says where the file is damaged, and begun anew.
        tables: makes the tables where they are not there.
        held: selects stream, room in bytes and number of rows, of each stream that has any.
        unreachable: raised where SQLite fails.
        is_checked: whether the whole file is read when it is opened, to see whether it is damaged.

    Raises:
        StoreLocked: another process has the folder open.
        OSError, sqlite3.Error: the folder or the file cannot be made or read.
    """

    def __init__(
        self,
        root: Path | None,
        *,
        file: str,
        setting: str,
        damaged: str,
        tables: str,
        held: str,
        unreachable: type[Exception],
        wal_bytes: int,
        is_checked: bool = True,
    ) -> None:
        self._select_held, self._unreachable = held, unreachable
        self.lock = threading.Lock()
        self.counts = Counter[str]()
        """Totals since opening, by what became of rows."""
        self.held = dict[str, int]()
        """Room that each stream takes; none takes 0."""
        self.num_rows = 0
        self._lock_descriptor: int | None = None
        if root is not None:
            self._lock_descriptor = lock_folder(root, setting=setting)
        try:
            if root is None:
                self.database = sqlite3.connect(
                    ":memory:", isolation_level=None, check_same_thread=False
                )
                self.database.executescript(tables)
            else:
                self.database = _opened(root / file, damaged, tables, wal_bytes, is_checked)
            self.count_held()
        except BaseException:
            self._unlock()
            raise

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Hold the lock. Raises `unreachable` where SQLite fails."""
        with self.lock:
            try:
                yield
            except sqlite3.Error as error:
                raise self._unreachable(str(error)) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all or nothing."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self.database.execute("ROLLBACK")
                self.count_held()
            raise
        self.database.execute("COMMIT")
        give_back(self.database)

    def grow(self, stream: str, num_bytes: int, num_rows: int) -> None:
        """Note that a stream takes so much more, or less."""
        self.num_rows += num_rows
        held = self.held.get(stream, 0) + num_bytes
        if held > 0:
            self.held[stream] = held
        else:
            self.held.pop(stream, None)

    def count_held(self) -> None:
        """Count anew what all streams take."""
        self.held.clear()
        self.num_rows = 0
        for stream, num_bytes, num_rows in self.database.execute(self._select_held):
            self.grow(stream, num_bytes, num_rows)

    def close(self) -> None:
        """Write what is not written yet, and let go of the file and its folder."""
        with self.lock:
            with contextlib.suppress(sqlite3.Error):
                copy_log(self.database)
            self.database.close()
            self._unlock()

    def _unlock(self) -> None:
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None


def _opened(
    path: Path, damaged: str, tables: str, wal_bytes: int, is_checked: bool
) -> sqlite3.Connection:
    def open_it() -> sqlite3.Connection:
        return open_file(
            path, tables=tables, waits_for_medium=False, wal_bytes=wal_bytes, is_checked=is_checked
        )

    try:
        return open_it()
    except FileDamaged as error:
        logger.error(damaged, extra={"error": str(error), "file": put_aside(path).name})
        return open_it()
