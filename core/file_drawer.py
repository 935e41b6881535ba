"""`FileDrawer`: documents of streams in files of one machine, each whole or not there.

    <root>/<name>/<tenant>~<stream>.json            a document of one word
    <root>/<name>/<tenant>~<stream>/<part>.json     a document named name/part

The files can be read by their owner alone, since they hold the secrets of webhooks.
"""

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from onlooker.core.drawer import Documents, DrawerFailed
from onlooker.core.ids import StreamId, split_stream_id, tenant_stream_id

_log = logging.getLogger("onlooker.file_drawer")

T = TypeVar("T")


class FileDrawer:
    """See `StreamDrawer`. One thread does the work.

    Args:
        root: the folder, which may hold other things beside; made when it is first needed.
        folders: the first words of all names that are used.
        max_streams: streams of which a document of one name is kept; beyond, that of the stream
            for which it was not written for longest goes.
        executor: of one thread, for tests.
    """

    def __init__(
        self,
        root: Path,
        *,
        folders: Sequence[str],
        max_streams: int,
        executor: Executor | None = None,
    ) -> None:
        self._root, self._folders, self._max_streams = root, tuple(folders), max_streams
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="drawer")

    async def read(self, stream_id: StreamId) -> dict[str, bytes]:
        return await self._done(lambda: self._read(stream_id))

    async def write(self, stream_id: StreamId, documents: Documents, *, epoch: int) -> None:
        await self._done(lambda: self._write(stream_id, documents))

    async def exchange(
        self, stream_id: StreamId, name: str, *, before: bytes, after: bytes
    ) -> bool:
        return await self._done(lambda: self._exchange(stream_id, name, before, after))

    async def clear(self, stream_id: StreamId, *, epoch: int) -> None:
        await self._done(lambda: self._clear(stream_id))

    async def stream_ids(self) -> list[StreamId]:
        return await self._done(self._list)

    async def close(self) -> None:
        self._executor.shutdown(wait=False)

    # ---- in the thread

    async def _done(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except OSError as error:
            raise DrawerFailed(f"{type(error).__name__}: {error.strerror}") from error

    def _read(self, stream_id: StreamId) -> dict[str, bytes]:
        found = {}
        for folder in self._folders:
            place = self._place(folder, stream_id)
            old = place.with_name(f"{place.name}.txt")  # as origins were named once
            for file in (old, place.with_name(f"{place.name}.json")):
                if file.exists():
                    found[folder] = file.read_bytes()
            if place.is_dir():
                for file in sorted(place.glob("*.json")):
                    found[f"{folder}/{file.stem}"] = file.read_bytes()
        return found

    def _write(self, stream_id: StreamId, documents: Documents) -> None:
        for name, content in documents.items():
            path = self._file(name, stream_id)
            if not content:
                path.unlink(missing_ok=True)
                continue
            is_new = not (path.parent if "/" in name else path).exists()
            _write_whole(path, content)
            if is_new:
                self._make_room(self._root / name.partition("/")[0])

    def _exchange(self, stream_id: StreamId, name: str, before: bytes, after: bytes) -> bool:
        path = self._file(name, stream_id)
        kept = path.read_bytes() if path.exists() else b""
        if kept == before:
            self._write(stream_id, {name: after})
        return kept in (before, after)

    def _make_room(self, folder: Path) -> None:
        """Let go of the streams that were not written for longest."""
        files = [one for one in folder.iterdir() if one.suffix != ".new"]
        if len(files) <= self._max_streams:
            return
        files.sort(key=lambda file: file.stat().st_mtime_ns)
        for old in files[: len(files) - self._max_streams]:
            _log.warning(
                "what was kept of a stream was deleted, since there are too many",
                extra={"folder": folder.name, "stream": old.stem, "max_streams": self._max_streams},
            )
            _remove(old)

    def _clear(self, stream_id: StreamId) -> None:
        for folder in self._folders:
            place = self._place(folder, stream_id)
            for path in (place, place.with_name(f"{place.name}.json"),
                         place.with_name(f"{place.name}.txt")):  # fmt: skip
                _remove(path)

    def _list(self) -> list[StreamId]:
        found: set[StreamId] = set()
        for folder in self._folders:
            if (self._root / folder).is_dir():
                for path in (self._root / folder).iterdir():
                    name = path.name if path.is_dir() else path.stem
                    if len(parts := name.split("~")) == 2:
                        found.add(tenant_stream_id(*parts))
        return sorted(found)

    def _file(self, name: str, stream_id: StreamId) -> Path:
        folder, _, part = name.partition("/")
        place = self._place(folder, stream_id)
        return place / f"{part}.json" if part else place.with_name(f"{place.name}.json")

    def _place(self, folder: str, stream_id: StreamId) -> Path:
        tenant, name = split_stream_id(stream_id)
        return self._root / folder / f"{tenant}~{name}"  # no name has a tilde


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
