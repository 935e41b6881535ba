"""`WatchShelf`: watches on disk beside the journal, so that a restarted server goes on looking.

There is one small file for each stream. It is written anew when the stream's watches change, in a
thread, and is either whole or not there. What was asked for is kept, but not what a watch had seen,
so that it begins to look anew. Watches that have ended are not kept.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from onlooker.core.ids import StreamId, split_stream_id
from onlooker.core.metrics import Metrics
from onlooker.watches.options import WatchOptions
from onlooker.watches.watch import Watch

_log = logging.getLogger("onlooker.watches")


@dataclass(frozen=True, slots=True)
class KeptWatch:
    """The part of a watch that outlives the server."""

    watch_id: str
    options: WatchOptions
    created_wall_s: float
    created_s: float
    """Stream time at which it was created. A stream that is found again goes on with its time."""


_KEPT = TypeAdapter(list[KeptWatch])


class WatchShelf:
    """The files of all streams. It is called on the event loop, and one thread does the work.

    Args:
        folder: where the files lie. It is made when the first is written. The files can be read
            by their owner alone, because they hold the secrets of webhooks.
        max_streams: files; beyond, the one that was not written for longest goes.
        executor: of one thread, for tests.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_streams: int,
        metrics: Metrics,
        executor: Executor | None = None,
    ) -> None:
        self._folder, self._max_streams, self._metrics = folder, max_streams, metrics
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="watches")
        self._pending: dict[StreamId, bytes] = {}
        self._lock = threading.Lock()

    def keep(self, stream_id: StreamId, watches: Sequence[Watch]) -> None:
        """Write down that these are the stream's watches now. Never waits: while the disk hangs,
        only the newest call for each stream is held."""
        kept = [
            KeptWatch(w.watch_id, w.options, w.created_wall_s, w.created_s)
            for w in watches
            if w.state != "ended"
        ]
        with self._lock:
            is_idle = not self._pending
            self._pending[stream_id] = _KEPT.dump_json(kept) if kept else b""
        if is_idle:
            self._executor.submit(self._write_pending)

    async def find(self, stream_id: StreamId) -> list[KeptWatch]:
        """The watches of a stream that is opened again. A file that cannot be read holds none."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._read, stream_id)

    def forget(self, stream_id: StreamId) -> None:
        """Delete the file of a stream that is to be forgotten."""
        self.keep(stream_id, ())

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
                self._metrics.watch_saves.labels(outcome="saved").inc()
            except OSError as error:
                self._metrics.watch_saves.labels(outcome="failed").inc()
                _log.warning("watches could not be kept", extra={"detail": str(error)})
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

    def _read(self, stream_id: StreamId) -> list[KeptWatch]:
        try:
            return _KEPT.validate_json(self._path(stream_id).read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, ValidationError) as error:
            _log.warning("kept watches cannot be read", extra={"detail": str(error)})
            return []

    def _path(self, stream_id: StreamId) -> Path:
        tenant, name = split_stream_id(stream_id)
        return self._folder / f"{tenant}~{name}.json"  # no name has a tilde
