"""`PrivacyShelf`: what outlives the server of the privacy of streams, a file for each."""

import logging
from concurrent.futures import Executor
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.core.stream_files import StreamFiles
from onlooker.streams.privacy import NOTHING_KEPT, KeptPrivacy

_log = logging.getLogger("onlooker.streams.privacy")

_KEPT = TypeAdapter(KeptPrivacy)


class PrivacyShelf:
    """The files of all streams, see `StreamFiles`."""

    def __init__(
        self,
        folder: Path,
        *,
        max_streams: int,
        metrics: Metrics,
        executor: Executor | None = None,
    ) -> None:
        saves = metrics.privacy_saves
        self._files = StreamFiles(
            folder,
            max_streams=max_streams,
            on_written=lambda is_written: saves.labels("saved" if is_written else "failed").inc(),
            executor=executor,
        )

    def keep(self, stream_id: StreamId, kept: KeptPrivacy) -> None:
        """Write it down. Never waits."""
        self._files.keep(stream_id, _KEPT.dump_json(kept))

    async def find(self, stream_id: StreamId) -> KeptPrivacy | None:
        """What was kept of a stream; None where nothing was, or it cannot be read."""
        content = await self._files.find(stream_id)
        try:
            return _KEPT.validate_json(content) if content else None
        except ValidationError as error:
            _log.error(
                "masks and retention of a stream cannot be read: it goes on with the server's",
                extra={"stream": stream_id, "detail": str(error)},
            )
            return NOTHING_KEPT

    async def stream_ids(self) -> list[StreamId]:
        """The streams of which something is kept."""
        return await self._files.stream_ids()

    def forget(self, stream_id: StreamId) -> None:
        """Delete what was kept of a stream that is to be forgotten."""
        self._files.keep(stream_id, b"")

    async def close(self) -> None:
        """Write down what waits, and stop."""
        await self._files.close()
