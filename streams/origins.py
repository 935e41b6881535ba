"""`OriginShelf`: the wall clock of stream time 0, on disk, for streams that were given one.

What is remembered of a stream is kept by stream time. A stream that is found again after a restart
must mean the same times by it, or "yesterday" would be another day. There is one small file for
each such stream, written before its first frame is taken; it is either whole or not there.
"""

import asyncio
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from onlooker.core.errors import ServiceError
from onlooker.core.ids import StreamId, split_stream_id

_log = logging.getLogger("onlooker.streams.origins")


@dataclass(frozen=True, slots=True)
class OriginShelf:
    """The files of all streams."""

    folder: Path | None
    """Where the files lie, made when the first is written; None keeps nothing."""
    max_streams: int
    """Files; beyond, the one that was written first goes."""

    async def settle(self, stream_id: StreamId, wanted_s: float | None) -> float | None:
        """The origin of a stream that is opened, in seconds since the Unix epoch: the one it had
        before, else `wanted_s`, which is kept from now on.

        Raises:
            ServiceError: the disk takes nothing.
        """
        if self.folder is None:
            return wanted_s
        return await asyncio.to_thread(self._settle, self._path(self.folder, stream_id), wanted_s)

    async def forget(self, stream_id: StreamId) -> None:
        """Delete the file of a stream that is to be forgotten."""
        if self.folder is not None:
            path = self._path(self.folder, stream_id)
            await asyncio.to_thread(path.unlink, missing_ok=True)

    def _settle(self, path: Path, wanted_s: float | None) -> float | None:
        try:
            return float(path.read_text())
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            _log.warning("a kept origin cannot be read", extra={"detail": str(error)})
        if wanted_s is not None:
            try:
                self._write(path, wanted_s)
            except OSError as error:
                raise ServiceError(f"the stream's starts_at could not be kept: {error}") from error
        return wanted_s

    def _write(self, path: Path, origin_s: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        with draft.open("w") as file:
            file.write(repr(origin_s))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        files = sorted(path.parent.glob("*.txt"), key=lambda file: file.stat().st_mtime_ns)
        for old in files[: max(0, len(files) - self.max_streams)]:
            old.unlink(missing_ok=True)
            _log.warning(
                "the wall clock of a stream was forgotten (streams.max_kept_origins)",
                extra={"detail": old.stem},
            )

    @staticmethod
    def _path(folder: Path, stream_id: StreamId) -> Path:
        tenant, name = split_stream_id(stream_id)
        return folder / f"{tenant}~{name}.txt"  # no name has a tilde


NOTHING_KEPT = OriginShelf(None, max_streams=0)
"""The shelf of a server that finds no stream again."""
