"""`SqliteAlbum`: the pictures of this server's streams, in one SQLite file or in memory.

    album.sqlite     table pictures: stream, clip, times, size, change, and the encoded picture

What was written in the last second may be missing after a crash, and nothing else.
"""

import logging
import sqlite3
from collections.abc import Collection, Sequence
from pathlib import Path

from onlooker.cache_store.album import (
    AlbumPicture,
    AlbumStats,
    AlbumUnreachable,
    NewPicture,
    PictureFacts,
)
from onlooker.cache_store.albums.thinning import Budgets, leaving, next_stretch, stretch_of
from onlooker.cache_store.sqlite_file import wipe
from onlooker.cache_store.stream_file import StreamFile

logger = logging.getLogger(__name__)

FILE = "album.sqlite"

ROW_BYTES = 1024
"""Room that a picture takes beside its own bytes: its row, its places in the indexes, and what is
left empty of its last page, on average."""

_TABLES = """
CREATE TABLE IF NOT EXISTS pictures (
    stream TEXT NOT NULL, clip INTEGER NOT NULL, start_s REAL NOT NULL, end_s REAL NOT NULL,
    wall_s REAL NOT NULL, stretch INTEGER NOT NULL, width INTEGER NOT NULL,
    height INTEGER NOT NULL, media_type TEXT NOT NULL, change REAL NOT NULL,
    num_bytes INTEGER NOT NULL, data BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS pictures_of_clips ON pictures (stream, clip);
CREATE INDEX IF NOT EXISTS pictures_by_time ON pictures (stream, start_s);
CREATE INDEX IF NOT EXISTS pictures_by_stretch ON pictures (stream, stretch, num_bytes);
CREATE INDEX IF NOT EXISTS pictures_by_age ON pictures (wall_s);
"""
_COLUMNS = "clip, start_s, end_s, wall_s, width, height, media_type, change, num_bytes"
_HELD = f"SELECT stream, sum(num_bytes + {ROW_BYTES}), count(*) FROM pictures GROUP BY stream"  # noqa: S608
_INSERT = "INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class SqliteAlbum:
    """See `Album`.

    Args:
        root: a folder that no other process uses; None keeps the pictures in memory.

    Raises:
        StoreLocked: another process has the folder open.
        OSError, sqlite3.Error: the folder or the file cannot be made or read.
    """

    def __init__(self, root: Path | None, budgets: Budgets) -> None:
        self._budgets = budgets
        self._file = StreamFile(
            root,
            file=FILE,
            setting="cache_store.album.path",
            damaged="the album's file is damaged and was put aside: its pictures are lost",
            tables=_TABLES,
            held=_HELD,
            unreachable=AlbumUnreachable,
            wal_bytes=8 << 20,
            is_checked=False,  # reading gigabytes takes long, and a damaged picture harms no other
        )

    def add(self, pictures: Sequence[NewPicture]) -> None:
        with self._file.lock:
            try:
                with self._file.transaction():
                    for one in pictures:
                        self._insert(one.stream, one.picture)
                    self._thin()
            except sqlite3.Error as error:
                self._file.counts["errors"] += len(pictures)
                logger.warning("pictures cannot be kept", extra={"error": str(error)})

    def facts(
        self, stream: str, start_s: float, end_s: float, *, limit: int, newest_first: bool = False
    ) -> list[PictureFacts]:
        order = "DESC" if newest_first else "ASC"
        found = (
            f"SELECT {_COLUMNS} FROM pictures WHERE stream = ? AND start_s BETWEEN ? AND ? "  # noqa: S608
            f"ORDER BY start_s {order} LIMIT ?"
        )
        with self._file.reached():
            rows = self._file.database.execute(found, (stream, start_s, end_s, limit)).fetchall()
        return [_facts(row) for row in rows]

    def read(self, stream: str, clip_indices: Sequence[int]) -> list[AlbumPicture]:
        one = f"SELECT {_COLUMNS}, data FROM pictures WHERE stream = ? AND clip = ?"  # noqa: S608
        pictures = []
        for clip_index in clip_indices:
            with self._file.reached():
                row = self._file.database.execute(one, (stream, clip_index)).fetchone()
            if row is not None:
                pictures.append(AlbumPicture(facts=_facts(row[:-1]), data=row[-1]))
        return pictures

    def forget(
        self,
        stream: str,
        start_s: float,
        end_s: float,
        clip_indices: Collection[int] = (),
        *,
        epoch: int | None = None,
    ) -> int:
        touching = "SELECT clip FROM pictures WHERE stream = ? AND start_s <= ? AND end_s >= ?"
        with self._file.reached():
            rows = self._file.database.execute(touching, (stream, end_s, start_s)).fetchall()
            gone = {row[0] for row in rows}.union(clip_indices)
            with self._file.transaction():
                num_gone = self._remove(stream, gone)
            wipe(self._file.database)
        return num_gone

    def delete(self, stream: str, *, epoch: int | None = None) -> None:
        with self._file.reached():
            with self._file.transaction():
                self._file.database.execute("DELETE FROM pictures WHERE stream = ?", (stream,))
            self._file.count_held()
            wipe(self._file.database)

    def sweep(self, before_wall_s: float) -> None:
        with self._file.reached():
            with self._file.transaction():
                gone = self._file.database.execute(
                    "DELETE FROM pictures WHERE wall_s < ?", (before_wall_s,)
                ).rowcount
            if gone:
                self._file.counts["aged"] += gone
                self._file.count_held()
                wipe(self._file.database)

    def stats(self) -> AlbumStats:
        with self._file.lock:
            return AlbumStats.of(
                self._file.counts,
                num_pictures=self._file.num_rows,
                num_bytes=sum(self._file.held.values()),
                num_streams=len(self._file.held),
            )

    def close(self) -> None:
        self._file.close()

    # ---- changes; the lock is held

    def _insert(self, stream: str, picture: AlbumPicture) -> None:
        if stream not in self._file.held and len(self._file.held) >= self._budgets.max_streams:
            self._file.counts["refused"] += 1
            return
        facts = picture.facts
        self._remove(stream, (facts.clip_index,))
        self._file.database.execute(
            _INSERT,
            (
                stream,
                facts.clip_index,
                facts.start_s,
                facts.end_s,
                facts.wall_s,
                stretch_of(facts.start_s),
                facts.width,
                facts.height,
                facts.media_type,
                facts.change,
                facts.num_bytes,
                picture.data,
            ),
        )
        self._file.grow(stream, facts.num_bytes + ROW_BYTES, 1)
        self._file.counts["added"] += 1

    def _thin(self) -> None:
        """Take pictures away until every budget is kept."""
        while (stream := self._budgets.exceeded_by(self._file.held)) is not None:
            counts = self._file.database.execute(
                "SELECT stretch, count(*) FROM pictures WHERE stream = ? GROUP BY stretch",
                (stream,),
            )
            pictures = self._file.database.execute(
                "SELECT clip, change FROM pictures WHERE stream = ? AND stretch = ?",
                (stream, next_stretch(dict(counts.fetchall()))),
            )
            self._file.counts["thinned"] += self._remove(stream, leaving(pictures.fetchall()))

    def _remove(self, stream: str, clip_indices: Collection[int]) -> int:
        """Delete pictures of a stream; returns how many there were."""
        num_gone = 0
        for clip_index in clip_indices:
            where = (stream, clip_index)
            row = self._file.database.execute(
                "SELECT rowid, num_bytes FROM pictures WHERE stream = ? AND clip = ?", where
            ).fetchone()
            if row is not None:
                self._file.database.execute("DELETE FROM pictures WHERE rowid = ?", (row[0],))
                self._file.grow(stream, -(row[1] + ROW_BYTES), -1)
                num_gone += 1
        return num_gone


def _facts(row: tuple[int, float, float, float, int, int, str, float, int]) -> PictureFacts:
    clip_index, start_s, end_s, wall_s, width, height, media_type, change, num_bytes = row
    return PictureFacts(
        clip_index=clip_index,
        start_s=start_s,
        end_s=end_s,
        wall_s=wall_s,
        width=width,
        height=height,
        media_type=media_type,
        change=change,
        num_bytes=num_bytes,
    )
