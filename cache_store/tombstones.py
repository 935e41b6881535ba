"""`Tombstones`: what is still to be deleted, remembered over restarts.

    <folder>/<model>+<tenant>+<stream>+<generation>             an empty file: all of the stream
    <folder>/<model>+<tenant>+<stream>+<generation>+<digest>    some of its segments: one
                                                                ``kind/index`` a line

No id has a ``+`` in it. Each file is made before the first attempt at a deletion, and goes once all
tiers have done it.
"""

import os
from pathlib import Path

from onlooker.cache_store.erasure import Erasure
from onlooker.cache_store.files import Files
from onlooker.cache_store.key import StreamKey, parse_key

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

    def load(self) -> list[Erasure]:
        """All that is still to be deleted."""
        if self._folder is None or not self._folder.is_dir():
            return []
        erasures = []
        for name in sorted(os.listdir(self._folder)):
            try:
                model, tenant, stream, generation, *digest = name.split(_SEPARATOR)
                key = StreamKey(model, tenant, stream, int(generation))
                erasures.append(self._read(key, self._folder / name) if digest else Erasure(key))
            except ValueError:
                continue  # a file of somebody else, or one that was not written to its end
        return erasures

    def add(self, erasure: Erasure) -> None:
        """Remember an erasure; returns once the medium has it."""
        if (path := self._path(erasure)) is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if erasure.keys is None:
            path.touch(mode=0o600)
        elif not path.exists():
            draft = path.with_name(f".{path.name}")
            draft.unlink(missing_ok=True)
            prefix = erasure.stream.prefix
            lines = [f"{key.text.removeprefix(prefix)}\n" for key in sorted(erasure.keys)]
            self._files.create(draft, ["".join(lines).encode()])
            self._files.sync_path(draft)
            self._files.rename(draft, path)
        self._files.sync_path(path.parent)

    def remove(self, erasure: Erasure) -> None:
        """The erasure is done everywhere."""
        if (path := self._path(erasure)) is not None:
            path.unlink(missing_ok=True)

    def _read(self, stream: StreamKey, path: Path) -> Erasure:
        lines = self._files.read(path)[0].decode("ascii", "replace").splitlines()
        return Erasure(stream, frozenset(parse_key(stream.prefix + line) for line in lines))

    def _path(self, erasure: Erasure) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / erasure.name.rstrip("/").replace("/", _SEPARATOR)
