"""Reads the files in which versions before SQLite kept frames, so that nothing is lost on the way.

    frames/<stream>/@<first position>    entries one after the other

A *mark* says that all frames of its stream up to its position are durable elsewhere.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from onlooker.cache_store.journal import NewEntry, check_name
from onlooker.cache_store.journal_entry import EntryHeader, EntryKind, unpack_entry


class OldFolder:
    """What an earlier version left in a journal's folder. Methods may raise OSError."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "frames"

    @property
    def is_there(self) -> bool:
        return self._folder.is_dir()

    def streams(self) -> list[str]:
        """Names of the streams that have files."""
        names = {
            path.parent.relative_to(self._folder).as_posix() for path in self._folder.rglob("@*")
        }
        return sorted(name for name in names if _is_name(name))

    def frames(self, stream: str) -> Iterator[NewEntry]:
        """The frames of a stream that are not durable, in order of arrival. The torn end of a file
        is left out, as it never was acknowledged."""
        entries = [one for path in self._files(stream) for one in _entries(path.read_bytes())]
        durable = max((h.number for h, _ in entries if h.kind is EntryKind.MARK), default=-1)
        for header, payload in entries:
            if header.kind is EntryKind.FRAME and header.number > durable:
                yield NewEntry(
                    stream=stream,
                    sequence=header.sequence,
                    capture_s=header.capture_s,
                    codec=header.codec,
                    payload=bytes(payload),
                    is_last=header.is_last,
                    is_look=header.is_look,
                )

    def remove(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self._folder)

    def _files(self, stream: str) -> list[Path]:
        return sorted((self._folder / stream).glob("@*"))


def _entries(data: bytes) -> Iterator[tuple[EntryHeader, memoryview]]:
    view = memoryview(data)
    while (entry := unpack_entry(view)) is not None:
        yield entry
        view = view[entry[0].num_bytes :]


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except ValueError:
        return False
    return True
