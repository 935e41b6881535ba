"""`StreamFiles`: one small file for each stream, written in a thread, whole or not there."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from onlooker.core.ids import StreamId, split_stream_id, tenant_stream_id

_log = logging.getLogger("onlooker.stream_files")


class StreamFiles:
    """A folder of files, by stream. It is called on the event loop, and one thread does the work.

    Args:
        folder: where the files lie. It is made when the first is written. The files can be read
            by their owner alone.
        max_streams: files; beyond, the one that was not written for longest goes.
        on_written: is told, in the thread, whether a file was written.
        executor: of one thread, for tests.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_streams: int,
        on_written: Callable[[bool], None],
        executor: Executor | None = None,
    ) -> None:
        self._folder, self._max_streams, self._on_written = folder, max_streams, on_written
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix=folder.name)
        self._pending: dict[StreamId, bytes] = {}
        self._lock = threading.Lock()

    def keep(self, stream_id: StreamId, content: bytes) -> None:
        """Have this stream's file hold `content`; empty content deletes it. Never waits: while the
        disk hangs, only the newest call for each stream is held."""
        with self._lock:
            is_idle = not self._pending
            self._pending[stream_id] = content
        if is_idle:
            self._executor.submit(self._write_pending)

    async def find(self, stream_id: StreamId) -> bytes:
        """What a stream's file holds; empty where there is none, or it cannot be read."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._read, stream_id)

    async def stream_ids(self) -> list[StreamId]:
        """The streams that have a file."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._list)

    async def close(self) -> None:
        """Write down what waits, and stop."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._write_pending)
        self._executor.shutdown(wait=False)

    # ---- in the thread

    def _write_pending(self) -> None:
        while True:
            with self._lock:
                if not self._pending:
                    return
                stream_id, content = next(iter(self._pending.items()))
            try:
                self._write(self._path(stream_id), content)
                self._on_written(True)
            except OSError as error:
                self._on_written(False)
                _log.warning(
                    "a stream's file could not be written",
                    extra={"folder": self._folder.name, "detail": str(error)},
                )
            with self._lock:
                if self._pending.get(stream_id) is content:
                    del self._pending[stream_id]

    def _write(self, path: Path, content: bytes) -> None:
        if not content:
            path.unlink(missing_ok=True)
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        draft.write_bytes(content)
        draft.replace(path)
        files = sorted(self._folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        for old in files[: max(0, len(files) - self._max_streams)]:
            old.unlink(missing_ok=True)

    def _read(self, stream_id: StreamId) -> bytes:
        try:
            return self._path(stream_id).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            _log.warning(
                "a stream's file cannot be read",
                extra={"folder": self._folder.name, "detail": str(error)},
            )
            return b""

    def _list(self) -> list[StreamId]:
        try:
            names = sorted(path.stem for path in self._folder.glob("*.json"))
        except OSError:
            return []
        parts = [name.split("~") for name in names]
        return [tenant_stream_id(*part) for part in parts if len(part) == 2]

    def _path(self, stream_id: StreamId) -> Path:
        tenant, name = split_stream_id(stream_id)
        return self._folder / f"{tenant}~{name}.json"  # no name has a tilde
