"""`WatchShelf`: watches on disk beside the journal, so that a restarted server goes on looking.

There is one small file for each stream. It is written anew when the stream's watches change, in a
thread, and is either whole or not there. What was asked for is kept, but not what a watch had seen,
so that it begins to look anew. Watches that have ended are not kept.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.core.stream_files import StreamFiles
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
    """The files of all streams, see `StreamFiles`. Only the server's user can read them, because
    they hold the secrets of webhooks."""

    def __init__(
        self,
        folder: Path,
        *,
        max_streams: int,
        metrics: Metrics,
        executor: Executor | None = None,
    ) -> None:
        saves = metrics.watch_saves
        self._files = StreamFiles(
            folder,
            max_streams=max_streams,
            on_written=lambda is_written: saves.labels("saved" if is_written else "failed").inc(),
            executor=executor,
        )

    def keep(self, stream_id: StreamId, watches: Sequence[Watch]) -> None:
        """Write down that these are the stream's watches now. Never waits."""
        kept = [
            KeptWatch(w.watch_id, w.options, w.created_wall_s, w.created_s)
            for w in watches
            if w.state != "ended"
        ]
        self._files.keep(stream_id, _KEPT.dump_json(kept) if kept else b"")

    async def find(self, stream_id: StreamId) -> list[KeptWatch]:
        """The watches of a stream that is opened again. A file that cannot be read holds none."""
        content = await self._files.find(stream_id)
        try:
            return _KEPT.validate_json(content) if content else []
        except ValidationError as error:
            _log.warning("kept watches cannot be read", extra={"detail": str(error)})
            return []

    def forget(self, stream_id: StreamId) -> None:
        """Delete the file of a stream that is to be forgotten."""
        self.keep(stream_id, ())

    async def close(self) -> None:
        """Write down what waits, and stop."""
        await self._files.close()
