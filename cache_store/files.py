"""The file operations that may fail, in one place, so that tests can put a broken disk there."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Sequence
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path

import numpy as np

from onlooker.cache_store.codecs.base import Buffer
from onlooker.cache_store.errors import StoreLocked

_PART_BYTES = 1 << 20
"""Bytes that are read at once: few enough to stay in a cache of the processor, and so many that
threads that read side by side seldom wait for each other in the interpreter."""

_NO_ROOM = frozenset({ENOSPC, EDQUOT, EFBIG})


def is_no_room(error: OSError) -> bool:
    """Whether a write failed because the disk, a quota or a size limit is full."""
    return error.errno in _NO_ROOM


class Files:
    """Plain calls of the operating system. Methods raise OSError."""

    def write(self, descriptor: int, parts: Sequence[Buffer]) -> int:
        """Write several buffers at once and return the number of bytes written, which may be less
        than all, as with `os.writev`."""
        return os.writev(descriptor, parts)

    def sync(self, descriptor: int) -> None:
        """Return once the bytes of a file, or the names in a folder, are on the disk."""
        os.fsync(descriptor)

    def write_all(self, descriptor: int, parts: Sequence[Buffer]) -> None:
        """Write every byte of `parts`."""
        views = [memoryview(part).cast("B") for part in parts]
        while views:
            written = self.write(descriptor, views)
            while views and written >= views[0].nbytes:
                written -= views.pop(0).nbytes
            if views and written:
                views[0] = views[0][written:]

    def create(self, path: Path, parts: Sequence[Buffer]) -> None:
        """Write a new file; on failure nothing is left of it."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self.write_all(descriptor, parts)
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        finally:
            os.close(descriptor)

    def rename(self, path: Path, target: Path) -> None:
        """Give a file the name `target`, in place of a file that has it."""
        path.rename(target)

    def shorten(self, descriptor: int, num_bytes: int) -> None:
        """Cut off what a file has beyond its first `num_bytes`."""
        os.ftruncate(descriptor, num_bytes)

    def read(self, path: Path, num_bytes: int | None = None) -> tuple[bytes, int]:
        """Return the first `num_bytes` of a file (by default all of it), and the size of the
        file."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            wanted = size if num_bytes is None else min(size, num_bytes)
            data = os.read(descriptor, wanted)
            while len(data) < wanted and (more := os.read(descriptor, wanted - len(data))):
                data += more  # needed past 2 GiB, and where the file shrinks meanwhile
            return data, size
        finally:
            os.close(descriptor)

    def read_in_parts(self, path: Path, take: Callable[[memoryview], None]) -> memoryview:
        """Return a whole file. `take` gets each part as it comes in, while the processor still has
        it at hand."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            data = np.empty(size, np.uint8).data  # a bytearray would be cleared first
            done = 0
            while done < size:
                part = data[done : done + _PART_BYTES]
                if not (num_read := os.readv(descriptor, [part])):
                    break  # the file shrinks meanwhile
                take(part[:num_read])
                done += num_read
            return data[:done]
        finally:
            os.close(descriptor)

    def sync_path(self, path: Path) -> None:
        """Return once the bytes of a file, or the names in a folder, are on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.sync(descriptor)
        finally:
            os.close(descriptor)


def lock_folder(root: Path, *, setting: str) -> int:
    """Make a folder and take it for this process until the returned descriptor is closed.

    The lock ends with the process, however that ends.

    Raises:
        StoreLocked: another process has it.
        OSError: it cannot be made.
    """
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreLocked(
            f"the folder is in use by another process; give each its own (setting {setting})"
        ) from error
    return descriptor
