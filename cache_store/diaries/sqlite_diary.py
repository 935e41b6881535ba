"""`SqliteDiary`: the diaries of this server's streams, in one SQLite file or in memory.

    diary.sqlite     table entries: stream, level, times, text
                     table words: the stems of each text's words, searched with FTS5

What was written in the last second may be missing after a crash, and nothing else.
"""

import contextlib
import logging
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from onlooker.cache_store.albums.thinning import Budgets
from onlooker.cache_store.diaries.words import MAX_WORDS, words_of
from onlooker.cache_store.diary import (
    LEVELS,
    DiaryEntry,
    DiaryQuery,
    DiaryStats,
    DiaryUnreachable,
    NewDiaryEntry,
)
from onlooker.cache_store.files import lock_folder
from onlooker.cache_store.sqlite_file import (
    FileDamaged,
    copy_log,
    give_back,
    open_file,
    put_aside,
    wipe,
)

logger = logging.getLogger(__name__)

FILE = "diary.sqlite"

ROW_BYTES = 320
"""Room that an entry takes beside its text and the stems of its words: its row, and its places in
the indexes."""

LET_GO = 0.05
"""Share of a full diary's stream that goes at once."""

_WAL_BYTES = 4 << 20
_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY, stream TEXT NOT NULL, level INTEGER NOT NULL, start_s REAL NOT NULL,
    end_s REAL NOT NULL, wall_s REAL NOT NULL, num_bytes INTEGER NOT NULL, text TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS entries_by_level ON entries (stream, level, start_s);
CREATE INDEX IF NOT EXISTS entries_by_time ON entries (stream, start_s);
CREATE INDEX IF NOT EXISTS entries_by_age ON entries (wall_s);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(stems, tokenize = 'unicode61');
"""


class SqliteDiary:
    """See `Diary`.

    Args:
        root: a folder that no other process uses; None keeps the entries in memory.

    Raises:
        StoreLocked: another process has the folder open.
        OSError, sqlite3.Error: the folder or the file cannot be made or read.
    """

    def __init__(self, root: Path | None, budgets: Budgets) -> None:
        self._budgets = budgets
        self._lock = threading.Lock()
        self._counts = Counter[str]()
        self._held = dict[str, int]()
        """Room that each stream's entries take."""
        self._num_entries = 0
        self._lock_descriptor: int | None = None
        if root is not None:
            self._lock_descriptor = lock_folder(root, setting="cache_store.diary.path")
        try:
            self._database = _opened(root)
            self._count_held()
        except BaseException:
            self._unlock()
            raise

    def add(self, entries: Sequence[NewDiaryEntry]) -> None:
        with self._lock:
            try:
                with self._transaction():
                    for one in entries:
                        self._insert(one.stream, one.entry)
                    self._let_go()
            except sqlite3.Error as error:
                self._counts["errors"] += len(entries)
                logger.warning("a diary cannot be written", extra={"error": str(error)})

    def find(self, stream: str, query: DiaryQuery) -> list[DiaryEntry]:
        levels = [LEVELS.index(level) for level in query.levels]
        stems = words_of(query.words)[:MAX_WORDS]
        if query.words.strip() and not stems:
            return []
        wanted = "SELECT level, start_s, end_s, wall_s, text FROM entries WHERE stream = ?"
        given: list[object] = [stream]
        if stems:
            wanted += " AND id IN (SELECT rowid FROM words WHERE words MATCH ?)"
            given.append(" ".join(f'"{stem}"' for stem in stems))
        wanted += f" AND level IN ({', '.join('?' * len(levels))}) AND start_s BETWEEN ? AND ?"
        order = "DESC" if query.newest_first else "ASC"
        wanted += f" ORDER BY start_s {order}, level {order} LIMIT ?"
        given += [*levels, query.start_s, query.end_s, query.limit]
        with self._lock, _reachable():
            rows = self._database.execute(wanted, given).fetchall()
        return [_entry(row) for row in rows]

    def forget(self, stream: str, start_s: float, end_s: float, *, epoch: int | None = None) -> int:
        where = "stream = ? AND start_s <= ? AND end_s >= ?"
        with self._lock, _reachable():
            with self._transaction():
                num_gone = self._remove(where, (stream, end_s, start_s))
            if num_gone:
                self._wipe()
        return num_gone

    def delete(self, stream: str, *, epoch: int | None = None) -> None:
        with self._lock, _reachable():
            with self._transaction():
                num_gone = self._remove("stream = ?", (stream,))
            if num_gone:
                self._wipe()

    def sweep(self, before_wall_s: float) -> None:
        with self._lock, _reachable():
            with self._transaction():
                num_gone = self._remove("wall_s < ?", (before_wall_s,))
            self._counts["aged"] += num_gone
            if num_gone:
                self._wipe()

    def stats(self) -> DiaryStats:
        with self._lock:
            return DiaryStats.of(
                self._counts,
                num_entries=self._num_entries,
                num_bytes=sum(self._held.values()),
                num_streams=len(self._held),
            )

    def close(self) -> None:
        with self._lock:
            with contextlib.suppress(sqlite3.Error):
                copy_log(self._database)
            self._database.close()
            self._unlock()

    # ---- changes; the lock is held

    def _insert(self, stream: str, entry: DiaryEntry) -> None:
        if stream not in self._held and len(self._held) >= self._budgets.max_streams:
            self._counts["refused"] += 1
            return
        level = LEVELS.index(entry.level)
        same = "stream = ? AND level = ? AND start_s = ?"
        self._remove(same, (stream, level, entry.start_s))
        stems = " ".join(words_of(entry.text))
        num_bytes = ROW_BYTES + len(entry.text.encode()) + 2 * len(stems.encode())
        row = (stream, level, entry.start_s, entry.end_s, entry.wall_s, num_bytes, entry.text)
        done = self._database.execute("INSERT INTO entries VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", row)
        self._database.execute(
            "INSERT INTO words (rowid, stems) VALUES (?, ?)", (done.lastrowid, stems)
        )
        self._grow(stream, num_bytes, 1)
        self._counts["added"] += 1

    def _let_go(self) -> None:
        """Let the oldest entries go, sentences before summaries, until every budget is kept."""
        while (stream := self._budgets.exceeded_by(self._held)) is not None:
            (count,) = self._database.execute(
                "SELECT count(*) FROM entries WHERE stream = ?", (stream,)
            ).fetchone()
            oldest = (
                "id IN (SELECT id FROM entries WHERE stream = ? ORDER BY level, start_s LIMIT ?)"
            )
            self._counts["thinned"] += self._remove(oldest, (stream, max(1, int(count * LET_GO))))

    def _remove(self, where: str, given: tuple[object, ...]) -> int:
        """Delete the entries that fit a condition; returns how many there were."""
        found = f"SELECT id, stream, num_bytes FROM entries WHERE {where}"  # noqa: S608
        rows = self._database.execute(found, given).fetchall()
        ids = [(row[0],) for row in rows]
        self._database.executemany("DELETE FROM words WHERE rowid = ?", ids)
        self._database.executemany("DELETE FROM entries WHERE id = ?", ids)
        for _, stream, num_bytes in rows:
            self._grow(stream, -num_bytes, -1)
        return len(rows)

    def _wipe(self) -> None:
        """Leave no trace of what was deleted: the index of words keeps it until it is merged."""
        self._database.execute("INSERT INTO words (words) VALUES ('optimize')")
        wipe(self._database)

    def _grow(self, stream: str, num_bytes: int, num_entries: int) -> None:
        self._num_entries += num_entries
        held = self._held.get(stream, 0) + num_bytes
        if held > 0:
            self._held[stream] = held
        else:
            self._held.pop(stream, None)

    def _count_held(self) -> None:
        self._held.clear()
        self._num_entries = 0
        rows = self._database.execute(
            "SELECT stream, sum(num_bytes), count(*) FROM entries GROUP BY stream"
        )
        for stream, num_bytes, num_entries in rows:
            self._grow(stream, num_bytes, num_entries)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
                self._count_held()
            raise
        self._database.execute("COMMIT")
        give_back(self._database)

    def _unlock(self) -> None:
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None


def _opened(root: Path | None) -> sqlite3.Connection:
    if root is None:
        database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        database.executescript(_TABLES)
        return database
    path = root / FILE
    try:
        return open_file(path, tables=_TABLES, waits_for_medium=False, wal_bytes=_WAL_BYTES)
    except FileDamaged as error:
        logger.error(
            "the diary's file is damaged and was put aside: what it told is lost",
            extra={"error": str(error), "file": put_aside(path).name},
        )
        return open_file(path, tables=_TABLES, waits_for_medium=False, wal_bytes=_WAL_BYTES)


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DiaryUnreachable(str(error)) from error


def _entry(row: tuple[int, float, float, float, str]) -> DiaryEntry:
    level, start_s, end_s, wall_s, text = row
    return DiaryEntry(level=LEVELS[level], start_s=start_s, end_s=end_s, wall_s=wall_s, text=text)
