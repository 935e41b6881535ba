"""`Tombstones`: which streams are still to be deleted, remembered over restarts.

    <folder>/<model>+<tenant>+<stream>+<generation>     an empty file

No id has a ``+`` in it. Each file is made before the first attempt at a deletion, and goes once all
tiers have done it.
"""

import os
from pathlib import Path

from onlooker.cache_store.files import Files
from onlooker.cache_store.key import StreamKey

_SEPARATOR = "+"


class Tombstones:
    """Blocking. All methods may raise OSError.

    Args:
        folder: made where it does not exist; None: nothing is remembered.
        files: the calls of the operating system; tests hand in failing ones.
    """

    def __init__(self, folder: Path | None, *, files: Files | None = None) -> None:
        self._folder = folder
        self._files = files or Files()

    def load(self) -> list[StreamKey]:
        """All streams that are still to be deleted."""
        if self._folder is None or not self._folder.is_dir():
            return []
        streams = []
        for name in sorted(os.listdir(self._folder)):
            try:
                model, tenant, stream, generation = name.split(_SEPARATOR)
                streams.append(StreamKey(model, tenant, stream, int(generation)))
            except ValueError:
                continue  # a file of somebody else
        return streams

    def add(self, stream: StreamKey) -> None:
        """Remember a stream; returns once the medium has it."""
        if (path := self._path(stream)) is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._files.sync_path(path.parent)

    def remove(self, stream: StreamKey) -> None:
        """The stream is deleted everywhere."""
        if (path := self._path(stream)) is not None:
            path.unlink(missing_ok=True)

    def _path(self, stream: StreamKey) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / stream.prefix.rstrip("/").replace("/", _SEPARATOR)
