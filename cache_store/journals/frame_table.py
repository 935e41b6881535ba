"""`FrameTable`: the frames of a journal in one SQLite file, in the order of their positions.

Whoever calls holds a lock: one call at a time.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from onlooker.cache_store.journal import JournalUnreachable, NewEntry
from onlooker.cache_store.journal_entry import JournalEntry, pack_frame, unpack_frame
from onlooker.cache_store.sqlite_file import is_damage

TABLES = """
CREATE TABLE IF NOT EXISTS frames (
    position INTEGER PRIMARY KEY, stream TEXT NOT NULL, sequence INTEGER NOT NULL,
    capture_s REAL NOT NULL, num_bytes INTEGER NOT NULL, entry BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS frames_of_stream ON frames (stream);
"""
_INSERT = "INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?)"

Row = tuple[int, int, float, int]
"""Position, sequence number, capture time and size of a frame."""


class FrameTable:
    """All methods raise `sqlite3.Error` where nothing else is said."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """`database`: an open file that has `TABLES`."""
        self._database = database
        self._next_position = 0

    @contextmanager
    def changing(self) -> Iterator[None]:
        """All changes that are made while the block runs are made, or none."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
            raise

    def sizes(self) -> Iterator[tuple[str, int]]:
        """The stream and the size of each frame. Called before `insert`, and read to its end."""
        rows = self._database.execute("SELECT position, stream, num_bytes FROM frames")
        for position, stream, num_bytes in rows:
            self._next_position = max(self._next_position, position + 1)
            yield stream, num_bytes

    def insert(self, entry: NewEntry) -> int:
        """Add a frame behind all others; returns its position."""
        position = self._next_position
        self._next_position += 1
        packed = pack_frame(
            sequence=entry.sequence,
            capture_s=entry.capture_s,
            codec=entry.codec,
            payload=entry.payload,
            is_last=entry.is_last,
            is_look=entry.is_look,
        )
        row = (position, entry.stream, entry.sequence, entry.capture_s, entry.num_bytes, packed)
        self._database.execute(_INSERT, row)
        return position

    def delete_up_to(self, stream: str, position: int) -> tuple[int, int]:
        """Delete a stream's frames up to a position; returns how many there were, and their
        bytes."""
        which = "FROM frames WHERE stream = ? AND position <= ?"
        where = (stream, position)
        num_frames, num_bytes = self._database.execute(
            f"SELECT count(*), coalesce(sum(num_bytes), 0) {which}", where
        ).fetchone()
        if num_frames:
            self._database.execute(f"DELETE {which}", where)
        return num_frames, num_bytes

    def delete_stream(self, stream: str) -> None:
        """Delete all frames of a stream."""
        self._database.execute("DELETE FROM frames WHERE stream = ?", (stream,))

    def delete(self, rows: Sequence[Row]) -> None:
        """Delete these frames."""
        gone = [(row[0],) for row in rows]
        self._database.executemany("DELETE FROM frames WHERE position = ?", gone)

    def rows(self, stream: str) -> list[Row]:
        """A stream's frames, without what is in them."""
        columns = "SELECT position, sequence, capture_s, num_bytes FROM frames WHERE stream = ?"
        return self._database.execute(columns, (stream,)).fetchall()

    def newest_s(self, stream: str) -> float | None:
        """The capture time of a stream's newest frame; None where it has none."""
        newest = "SELECT capture_s FROM frames WHERE stream = ? ORDER BY position DESC LIMIT 1"
        row = self._database.execute(newest, (stream,)).fetchone()
        return None if row is None else float(row[0])

    def positions(self, stream: str, after: int) -> list[int]:
        """The positions of a stream's frames behind another."""
        found = "SELECT position FROM frames WHERE stream = ? AND position > ? ORDER BY position"
        return [row[0] for row in self._database.execute(found, (stream, after))]

    def read(self, position: int) -> JournalEntry | None:
        """The frame there; None where it is damaged.

        Raises:
            JournalUnreachable: it cannot be read now.
        """
        which = "SELECT entry FROM frames WHERE position = ?"
        try:
            row = self._database.execute(which, (position,)).fetchone()
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                return None
            raise JournalUnreachable(str(error)) from error
        return None if row is None else unpack_frame(row[0], position=position)
