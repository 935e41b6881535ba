"""`SqliteDiary`: the diaries of this server's streams, in one SQLite file or in memory.

    diary.sqlite     table entries: stream, level, times, text
                     table words: the stems of each text's words, searched with FTS5

What was written in the last second may be missing after a crash, and nothing else.
"""

import logging
import sqlite3
from collections.abc import Sequence
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
from onlooker.cache_store.sqlite_file import wipe
from onlooker.cache_store.stream_file import StreamFile

logger = logging.getLogger(__name__)

FILE = "diary.sqlite"

ROW_BYTES = 320
"""Room that an entry takes beside its text and the stems of its words: its row, and its places in
the indexes."""

LET_GO = 0.05
"""Share of a full diary's stream that goes at once."""

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
        self._file = StreamFile(
            root,
            file=FILE,
            setting="cache_store.diary.path",
            damaged="the diary's file is damaged and was put aside: what it told is lost",
            tables=_TABLES,
            held="SELECT stream, sum(num_bytes), count(*) FROM entries GROUP BY stream",
            unreachable=DiaryUnreachable,
            wal_bytes=4 << 20,
        )

    def add(self, entries: Sequence[NewDiaryEntry]) -> None:
        with self._file.lock:
            try:
                with self._file.transaction():
                    for one in entries:
                        self._insert(one.stream, one.entry)
                    self._let_go()
            except sqlite3.Error as error:
                self._file.counts["errors"] += len(entries)
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
        with self._file.reached():
            rows = self._file.database.execute(wanted, given).fetchall()
        return [_entry(row) for row in rows]

    def forget(self, stream: str, start_s: float, end_s: float, *, epoch: int | None = None) -> int:
        where = "stream = ? AND start_s <= ? AND end_s >= ?"
        with self._file.reached():
            with self._file.transaction():
                num_gone = self._remove(where, (stream, end_s, start_s))
            if num_gone:
                self._wipe()
        return num_gone

    def delete(self, stream: str, *, epoch: int | None = None) -> None:
        with self._file.reached():
            with self._file.transaction():
                num_gone = self._remove("stream = ?", (stream,))
            if num_gone:
                self._wipe()

    def sweep(self, before_wall_s: float) -> None:
        with self._file.reached():
            with self._file.transaction():
                num_gone = self._remove("wall_s < ?", (before_wall_s,))
            self._file.counts["aged"] += num_gone
            if num_gone:
                self._wipe()

    def stats(self) -> DiaryStats:
        with self._file.lock:
            return DiaryStats.of(
                self._file.counts,
                num_entries=self._file.num_rows,
                num_bytes=sum(self._file.held.values()),
                num_streams=len(self._file.held),
            )

    def close(self) -> None:
        self._file.close()

    # ---- changes; the lock is held

    def _insert(self, stream: str, entry: DiaryEntry) -> None:
        if stream not in self._file.held and len(self._file.held) >= self._budgets.max_streams:
            self._file.counts["refused"] += 1
            return
        level = LEVELS.index(entry.level)
        same = "stream = ? AND level = ? AND start_s = ?"
        self._remove(same, (stream, level, entry.start_s))
        stems = " ".join(words_of(entry.text))
        num_bytes = ROW_BYTES + len(entry.text.encode()) + 2 * len(stems.encode())
        row = (stream, level, entry.start_s, entry.end_s, entry.wall_s, num_bytes, entry.text)
        done = self._file.database.execute(
            "INSERT INTO entries VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", row
        )
        self._file.database.execute(
            "INSERT INTO words (rowid, stems) VALUES (?, ?)", (done.lastrowid, stems)
        )
        self._file.grow(stream, num_bytes, 1)
        self._file.counts["added"] += 1

    def _let_go(self) -> None:
        """Let the oldest entries go, sentences before summaries, until every budget is kept."""
        while (stream := self._budgets.exceeded_by(self._file.held)) is not None:
            (count,) = self._file.database.execute(
                "SELECT count(*) FROM entries WHERE stream = ?", (stream,)
            ).fetchone()
            oldest = (
                "id IN (SELECT id FROM entries WHERE stream = ? ORDER BY level, start_s LIMIT ?)"
            )
            self._file.counts["thinned"] += self._remove(
                oldest, (stream, max(1, int(count * LET_GO)))
            )

    def _remove(self, where: str, given: tuple[object, ...]) -> int:
        """Delete the entries that fit a condition; returns how many there were."""
        found = f"SELECT id, stream, num_bytes FROM entries WHERE {where}"  # noqa: S608
        rows = self._file.database.execute(found, given).fetchall()
        ids = [(row[0],) for row in rows]
        self._file.database.executemany("DELETE FROM words WHERE rowid = ?", ids)
        self._file.database.executemany("DELETE FROM entries WHERE id = ?", ids)
        for _, stream, num_bytes in rows:
            self._file.grow(stream, -num_bytes, -1)
        return len(rows)

    def _wipe(self) -> None:
        """Leave no trace of what was deleted: the index of words keeps it until it is merged."""
        self._file.database.execute("INSERT INTO words (words) VALUES ('optimize')")
        wipe(self._file.database)


def _entry(row: tuple[int, float, float, float, str]) -> DiaryEntry:
    level, start_s, end_s, wall_s, text = row
    return DiaryEntry(level=LEVELS[level], start_s=start_s, end_s=end_s, wall_s=wall_s, text=text)
