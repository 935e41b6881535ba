"""Where the file of a record lies.

    <root>/LOCK                      held by the one process that has the folder open
    <root>/deletions/                streams that are still to be deleted (see `Tombstones`)
    <root>/v1/<model>/<tenant>/<stream>/<generation>/<index // 1024>/
        <index>.<kind>               a record
        .<number>                    a record being written; what is left of it is removed at open

Each record has a file of its own: a rename makes it appear whole or not at all, damage stays within
it, and its eviction frees its space at once, where a log for each stream would have to be
rewritten. A file is written beside its place, since file systems make many new files much faster in
many folders. A stream is listed without looking at others, and no folder holds more than a few
thousand names. The price is one fsync per record instead of one per batch. It is paid off the
critical path, and shrinks as the file system commits the files of a batch together.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from onlooker.cache_store.envelope import VERSION
from onlooker.cache_store.key import SegmentKey, parse_key

_FOLDER_SPAN = 1024
"""How many indices share a folder."""


def records_folder(root: Path) -> Path:
    return root / f"v{VERSION}"


def path_of(root: Path, key: SegmentKey) -> Path:
    """The file in which the record of a key lies."""
    folder = f"{key.stream_prefix}{key.index // _FOLDER_SPAN:07d}"
    return Path(f"{root}/v{VERSION}/{folder}/{key.index:010d}.{key.kind.value}")


class RecordFile(NamedTuple):
    key: SegmentKey
    num_bytes: int
    modified_ns: int


def temporary_path(folder: Path, number: int) -> Path:
    """The file into which a record that belongs into `folder` is written first."""
    return folder / f".{number}"


def list_records(root: Path, *, leftovers: list[Path] | None = None) -> Iterator[RecordFile]:
    """Each file of a record. Half-written files are added to `leftovers`; other files are passed
    over.

    Only names are read: damage inside a file is found when the record is read.
    """
    top = records_folder(root)
    for folder, _, _ in os.walk(top):
        parts = Path(folder).relative_to(top).parts
        if len(parts) != 5:
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                index, _, kind = entry.name.partition(".")
                if not index and kind.isdecimal() and leftovers is not None:
                    leftovers.append(Path(entry.path))
                try:
                    key = parse_key("/".join((*parts[:4], kind, index)))
                except ValueError:
                    continue
                if path_of(root, key) == Path(entry.path) and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    yield RecordFile(key, status.st_size, status.st_mtime_ns)
