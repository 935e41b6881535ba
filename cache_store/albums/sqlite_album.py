"""`SqliteAlbum`: the pictures of this server's streams, in one SQLite file or in memory.

    album.sqlite     table pictures: stream, clip, times, size, change, and the encoded picture

What was written in the last second may be missing after a crash, and nothing else.
"""

import contextlib
import logging
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from onlooker.cache_store.album import (
    AlbumPicture,
    AlbumStats,
    AlbumUnreachable,
    NewPicture,
    PictureFacts,
)
from onlooker.cache_store.albums.thinning import Budgets, leaving, next_stretch, stretch_of
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

FILE = "album.sqlite"

ROW_BYTES = 1024
"""Room that a picture takes beside its own bytes: its row, its places in the indexes, and what is
left empty of its last page, on average."""

_WAL_BYTES = 8 << 20
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
        self._lock = threading.Lock()
        self._counts = Counter[str]()
        self._held = dict[str, int]()
        """Room that each stream takes; none takes 0."""
        self._num_pictures = 0
        self._lock_descriptor: int | None = None
        if root is not None:
            self._lock_descriptor = lock_folder(root, setting="cache_store.album.path")
        try:
            self._database = _opened(root)
            self._count_held()
        except BaseException:
            self._unlock()
            raise

    def add(self, pictures: Sequence[NewPicture]) -> None:
        with self._lock:
            try:
                with self._transaction():
                    for one in pictures:
                        self._insert(one.stream, one.picture)
                    self._thin()
            except sqlite3.Error as error:
                self._counts["errors"] += len(pictures)
                logger.warning("pictures cannot be kept", extra={"error": str(error)})

    def facts(
        self, stream: str, start_s: float, end_s: float, *, limit: int, newest_first: bool = False
    ) -> list[PictureFacts]:
        order = "DESC" if newest_first else "ASC"
        found = (
            f"SELECT {_COLUMNS} FROM pictures WHERE stream = ? AND start_s BETWEEN ? AND ? "  # noqa: S608
            f"ORDER BY start_s {order} LIMIT ?"
        )
        with self._lock, _reachable():
            rows = self._database.execute(found, (stream, start_s, end_s, limit)).fetchall()
        return [_facts(row) for row in rows]

    def read(self, stream: str, clip_indices: Sequence[int]) -> list[AlbumPicture]:
        one = f"SELECT {_COLUMNS}, data FROM pictures WHERE stream = ? AND clip = ?"  # noqa: S608
        pictures = []
        for clip_index in clip_indices:
            with self._lock, _reachable():
                row = self._database.execute(one, (stream, clip_index)).fetchone()
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
        with self._lock, _reachable():
            rows = self._database.execute(touching, (stream, end_s, start_s)).fetchall()
            gone = {row[0] for row in rows}.union(clip_indices)
            with self._transaction():
                num_gone = self._remove(stream, gone)
            wipe(self._database)
        return num_gone

    def delete(self, stream: str, *, epoch: int | None = None) -> None:
        with self._lock, _reachable():
            with self._transaction():
                self._database.execute("DELETE FROM pictures WHERE stream = ?", (stream,))
            self._count_held()
            wipe(self._database)

    def sweep(self, before_wall_s: float) -> None:
        with self._lock, _reachable():
            with self._transaction():
                gone = self._database.execute(
                    "DELETE FROM pictures WHERE wall_s < ?", (before_wall_s,)
                ).rowcount
            if gone:
                self._counts["aged"] += gone
                self._count_held()
                wipe(self._database)

    def stats(self) -> AlbumStats:
        with self._lock:
            return AlbumStats.of(
                self._counts,
                num_pictures=self._num_pictures,
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

    def _insert(self, stream: str, picture: AlbumPicture) -> None:
        if stream not in self._held and len(self._held) >= self._budgets.max_streams:
            self._counts["refused"] += 1
            return
        facts = picture.facts
        self._remove(stream, (facts.clip_index,))
        self._database.execute(
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
        self._grow(stream, facts.num_bytes + ROW_BYTES, 1)
        self._counts["added"] += 1

    def _thin(self) -> None:
        """Take pictures away until every budget is kept."""
        while (stream := self._budgets.exceeded_by(self._held)) is not None:
            counts = self._database.execute(
                "SELECT stretch, count(*) FROM pictures WHERE stream = ? GROUP BY stretch",
                (stream,),
            )
            pictures = self._database.execute(
                "SELECT clip, change FROM pictures WHERE stream = ? AND stretch = ?",
                (stream, next_stretch(dict(counts.fetchall()))),
            )
            self._counts["thinned"] += self._remove(stream, leaving(pictures.fetchall()))

    def _remove(self, stream: str, clip_indices: Collection[int]) -> int:
        """Delete pictures of a stream; returns how many there were."""
        num_gone = 0
        for clip_index in clip_indices:
            where = (stream, clip_index)
            row = self._database.execute(
                "SELECT rowid, num_bytes FROM pictures WHERE stream = ? AND clip = ?", where
            ).fetchone()
            if row is not None:
                self._database.execute("DELETE FROM pictures WHERE rowid = ?", (row[0],))
                self._grow(stream, -(row[1] + ROW_BYTES), -1)
                num_gone += 1
        return num_gone

    def _grow(self, stream: str, num_bytes: int, num_pictures: int) -> None:
        self._num_pictures += num_pictures
        held = self._held.get(stream, 0) + num_bytes
        if held > 0:
            self._held[stream] = held
        else:
            self._held.pop(stream, None)

    def _count_held(self) -> None:
        self._held.clear()
        self._num_pictures = 0
        rows = self._database.execute(
            "SELECT stream, sum(num_bytes), count(*) FROM pictures GROUP BY stream"
        )
        for stream, num_bytes, num_pictures in rows:
            self._grow(stream, num_bytes + num_pictures * ROW_BYTES, num_pictures)

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
        return _open(path)
    except FileDamaged as error:
        logger.error(
            "the album's file is damaged and was put aside: its pictures are lost",
            extra={"error": str(error), "file": put_aside(path).name},
        )
        return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    # Reading gigabytes of pictures at each start would take long, and a damaged one harms no other.
    return open_file(
        path, tables=_TABLES, waits_for_medium=False, wal_bytes=_WAL_BYTES, is_checked=False
    )


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise AlbumUnreachable(str(error)) from error


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
