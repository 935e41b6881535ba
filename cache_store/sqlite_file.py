"""A file of SQLite's: how it is opened, kept small and free of traces, and put aside."""

import os
import sqlite3
from pathlib import Path

LOG_SUFFIX = "-wal"
DAMAGED_SUFFIX = ".damaged"

_PAGE_BYTES = 4096
_MAX_FREE_BYTES = 32 << 20
"""Free room inside the file that is left for what comes next; more is given back."""
_FREED_BYTES = 8 << 20
"""How much of it is given back at once."""
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class FileDamaged(sqlite3.DatabaseError):
    """The file is no database, or one whose pages do not fit together."""


def open_file(
    path: Path,
    *,
    tables: str,
    waits_for_medium: bool,
    wal_bytes: int,
    is_checked: bool = True,
) -> sqlite3.Connection:
    """Open the file, or make it; readable for this user alone.

    Args:
        tables: the statements that make its tables where they are not there.
        waits_for_medium: whether a commit returns only when the medium has it.
        wal_bytes: the size at which the log is copied into the file.
        is_checked: whether the whole file is read, to find out that it is not damaged.

    Raises:
        FileDamaged: see there.
        OSError, sqlite3.Error: it cannot be made, or read.
    """
    # Made here, so that nobody else may read it; SQLite gives its log the same rights.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for setting in (
            f"page_size = {_PAGE_BYTES}",
            "auto_vacuum = INCREMENTAL",
            "locking_mode = EXCLUSIVE",
            "journal_mode = WAL",
            f"synchronous = {'FULL' if waits_for_medium else 'NORMAL'}",
            "secure_delete = FAST",
            f"wal_autocheckpoint = {wal_bytes // _PAGE_BYTES}",
            f"journal_size_limit = {wal_bytes}",
        ):
            database.execute(f"PRAGMA {setting}")
        database.executescript(tables)
        found = database.execute("PRAGMA quick_check(1)").fetchone()[0] if is_checked else "ok"
    except sqlite3.DatabaseError as error:
        database.close()
        if is_damage(error):
            raise FileDamaged(str(error)) from error
        raise
    if found != "ok":
        database.close()
        raise FileDamaged(found)
    return database


def put_aside(path: Path) -> Path:
    """Give a damaged file another name, in place of one that has it already; returns that."""
    aside = path.with_name(path.name + DAMAGED_SUFFIX)
    path.replace(aside)
    for suffix in (LOG_SUFFIX, "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return aside


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether an error says that the file is damaged, and not that it cannot be reached."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _DAMAGE  # extended codes say more in their higher bits


def copy_log(database: sqlite3.Connection) -> None:
    """Copy the log into the file, have the medium take it, and empty the log."""
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def wipe(database: sqlite3.Connection) -> None:
    """Leave no trace of what was deleted. Zeroing it at each deletion would have half as much again
    written; here the free pages of the file, which `give_back` keeps few, are filled with others or
    cut off, and the log is emptied."""
    _free(database)
    copy_log(database)


def give_back(database: sqlite3.Connection) -> None:
    """Give back some of the room of a former peak."""
    (num_free,) = database.execute("PRAGMA freelist_count").fetchone()
    if num_free * _PAGE_BYTES > _MAX_FREE_BYTES:
        _free(database, num_pages=_FREED_BYTES // _PAGE_BYTES)


def _free(database: sqlite3.Connection, *, num_pages: int = 0) -> None:
    """Cut free pages off the file: so many, or all where that is 0."""
    # As a script: the module ends a statement without columns after its first step.
    database.executescript(f"PRAGMA incremental_vacuum({num_pages});")
