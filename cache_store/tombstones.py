"""`Tombstones`: what is still to be deleted, remembered over restarts.

    <folder>/<model>+<tenant>+<stream>+<generation>             all of the stream
    <folder>/<model>+<tenant>+<stream>+<generation>+<digest>    some of its segments: one
                                                                ``kind/index`` a line

A line ``epoch <number>`` says on behalf of which owner. No id has a ``+`` in it. Each file is made
before the first attempt at a deletion, and goes once all tiers have done it. Several servers may
share a folder where they share all tiers: each then does what any of them left undone.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from onlooker.cache_store.erasure import Erasure
from onlooker.cache_store.files import Files
from onlooker.cache_store.key import StreamKey, parse_key

logger = logging.getLogger(__name__)

_SEPARATOR = "+"
_EPOCH = "epoch "
_HEAD_BYTES = 64
"""Enough for the line of the epoch."""


class Tombstones:
    """Blocking. All methods may raise OSError.

    Args:
        folder: made where it does not exist; None: nothing is remembered.
        files: the calls of the operating system; tests hand in failing ones.
    """

    def __init__(self, folder: Path | None, *, files: Files | None = None) -> None:
        self._folder = folder
        self._files = files or Files()

    @property
    def outlive(self) -> bool:
        """Whether anything is remembered."""
        return self._folder is not None

    def load(self) -> list[Erasure]:
        """All that is still to be deleted."""
        if self._folder is None or not self._folder.is_dir():
            return []
        erasures = []
        for name in sorted(os.listdir(self._folder)):
            try:
                model, tenant, stream, generation, *digest = name.split(_SEPARATOR)
                key = StreamKey(model, tenant, stream, int(generation))
                erasures.append(self._read(key, self._folder / name, has_all=not digest))
            except ValueError:
                continue  # a file of somebody else, or one that was not written to its end
            except FileNotFoundError:
                continue  # another server has done it meanwhile
            except OSError as error:
                logger.warning(
                    "cannot read what is to be deleted", extra={"file": name, "error": str(error)}
                )
        return erasures

    def add(self, erasure: Erasure) -> None:
        """Remember an erasure; returns once the medium has it. A note of it on behalf of an older
        owner is replaced, since nothing is deleted for that one any more."""
        if (path := self._path(erasure)) is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if (noted := self._noted_epoch(erasure)) is None or noted < (erasure.epoch or 0):
            draft = path.with_name(f".{path.name}")
            draft.unlink(missing_ok=True)
            prefix = erasure.stream.prefix
            keys = sorted(erasure.keys or ())
            lines = [] if erasure.epoch is None else [f"{_EPOCH}{erasure.epoch}\n"]
            lines += [f"{key.text.removeprefix(prefix)}\n" for key in keys]
            self._files.create(draft, ["".join(lines).encode()])
            self._files.sync_path(draft)
            self._files.rename(draft, path)
        self._files.sync_path(path.parent)

    def remove(self, erasure: Erasure) -> None:
        """The erasure is done everywhere. A note of it on behalf of a newer owner stays."""
        path = self._path(erasure)
        if path is not None and (self._noted_epoch(erasure) or 0) <= (erasure.epoch or 0):
            path.unlink(missing_ok=True)

    def _noted_epoch(self, erasure: Erasure) -> int | None:
        """On behalf of which owner an erasure is noted, 0 where there is none; None where it is not
        noted."""
        if (path := self._path(erasure)) is None:
            return None
        try:
            head, _ = self._files.read(path, _HEAD_BYTES)
            return _epoch(head.decode("ascii", "replace").splitlines()) or 0
        except (FileNotFoundError, ValueError):
            return None

    def _read(self, stream: StreamKey, path: Path, *, has_all: bool) -> Erasure:
        lines = self._files.read(path)[0].decode("ascii", "replace").splitlines()
        if (epoch := _epoch(lines)) is not None:
            del lines[0]
        keys = None if has_all else frozenset(parse_key(stream.prefix + line) for line in lines)
        return Erasure(stream, keys, epoch)

    def _path(self, erasure: Erasure) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / erasure.name.rstrip("/").replace("/", _SEPARATOR)


def _epoch(lines: Sequence[str]) -> int | None:
    """What the first line says of the owner; None where it is another line."""
    has_owner = bool(lines) and lines[0].startswith(_EPOCH)
    return int(lines[0].removeprefix(_EPOCH)) if has_owner else None
