"""Encoded frames on disk until the segments made of them are durable.

What was acknowledged as remembered survives a crash: a frame is appended before it is acknowledged,
and is marked once its segment is durable. A frame without a mark is replayed into the engine after
a restart. A crash just before the mark brings back a frame whose segment is durable already; its
sequence number tells the caller.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from onlooker.cache_store.config import SyncPolicy
from onlooker.cache_store.files import Files, lock_folder
from onlooker.cache_store.journal_entry import HEADER_BYTES, MAX_PAYLOAD_BYTES, JournalEntry
from onlooker.cache_store.journal_log import JournalLog
from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import is_stream_id
from onlooker.core.media import Codec

logger = logging.getLogger(__name__)

_SYNC_INTERVAL_S = 1.0
_MAX_NAME_PARTS = 4


_GUARANTEES = {
    SyncPolicy.ALWAYS: Guarantee.MACHINE,
    SyncPolicy.EVERY_SECOND: Guarantee.SECOND,
    SyncPolicy.NEVER: Guarantee.PROCESS,
}


@dataclass(frozen=True, slots=True)
class JournalReceipt:
    """How a frame was taken."""

    guarantee: Guarantee
    position: int | None
    """The place of the frame in the journal of its stream; None when it was not journaled."""


@dataclass(frozen=True, slots=True)
class JournalStats:
    """Totals since opening, and what is held now."""

    appended: int
    refused: int
    """Frames for which the journal had no room."""
    errors: int
    """Frames that could not be written, and syncs that failed."""
    marked: int
    syncs: int
    damaged_bytes: int
    """Bytes that could not be read back: torn ends of files, and damage."""
    num_streams: int
    num_bytes: int


class _Stream:
    def __init__(self, log: JournalLog) -> None:
        self.log = log
        self.lock = threading.Lock()


class FrameJournal:
    """The journals of all streams. Thread-safe: calls for one stream take turns, those for
    different streams do not.

    A stream is named by 1-4 ids with ``/`` between them, such as ``tenant/camera/1``.

    Args:
        max_bytes: limit for all streams together; frames beyond it are taken without a guarantee.
        rotate_bytes: the size at which a new file of a stream is begun.
        max_streams: how many streams may be in the journal at once; frames of others are taken
            without a guarantee.

    Raises:
        StoreLocked: another process has the folder open.
        OSError: the folder cannot be made or read.
    """

    def __init__(
        self,
        root: Path,
        *,
        max_bytes: int,
        rotate_bytes: int,
        max_streams: int,
        sync: SyncPolicy,
        files: Files | None = None,
    ) -> None:
        self._root = root / "frames"
        self._max_bytes = max_bytes
        self._rotate_bytes = rotate_bytes
        self._max_streams = max_streams
        self._sync = sync
        self._files = files or Files()
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        self._num_bytes = 0
        self._counts = dict.fromkeys(("appended", "refused", "errors", "marked", "syncs"), 0)
        self._stopping = threading.Event()
        self._syncer: threading.Thread | None = None
        self._lock_descriptor = lock_folder(root, setting="cache_store.journal.path")
        self._root.mkdir(exist_ok=True)
        for name in self.streams():
            self._stream(name)

    @property
    def guarantee(self) -> Guarantee:
        """What a frame survives that has a position in the journal."""
        return _GUARANTEES[self._sync]

    def start(self) -> None:
        """Start to sync every second, if the policy says so."""
        if self._sync is SyncPolicy.EVERY_SECOND:
            self._syncer = threading.Thread(
                target=self._sync_regularly, name="journal-sync", daemon=True
            )
            self._syncer.start()

    def append(
        self,
        stream: str,
        *,
        sequence: int,
        capture_s: float,
        codec: Codec,
        payload: bytes,
        is_last: bool = False,
    ) -> JournalReceipt:
        """Write one frame; returns when the guarantee in the receipt holds.

        Args:
            sequence: the caller's number for the frame, returned by a replay; any number of frames
                may share one.
            codec: of a whole picture, so that each frame can be decoded without any other.
            is_last: the caller's mark, returned by a replay: no more frames share `sequence`.
        """
        assert codec.is_still
        num_bytes = HEADER_BYTES + len(payload)
        with self._lock:
            has_room = (
                self._num_bytes + num_bytes <= self._max_bytes
                and (stream in self._streams or len(self._streams) < self._max_streams)
                and len(payload) <= MAX_PAYLOAD_BYTES
            )
            if not has_room:
                self._counts["refused"] += 1
                return JournalReceipt(Guarantee.NONE, None)
        try:
            found = self._stream(stream)
            with found.lock, self._counting(found.log):
                position = found.log.append(
                    sequence=sequence,
                    capture_s=capture_s,
                    codec=codec,
                    payload=payload,
                    is_last=is_last,
                )
                guarantee = self._settle(found.log)
        except OSError as error:
            logger.warning("cannot journal a frame", extra={"error": str(error)})
            self._count("errors")
            return JournalReceipt(Guarantee.NONE, None)
        self._count("appended")
        return JournalReceipt(guarantee, position)

    def append_look(self, stream: str, *, sequence: int, capture_s: float) -> None:
        """Write down that a frame of `capture_s` was nearly the same as the last one of `sequence`.
        What cannot be written is left out: it guarantees nothing."""
        with self._lock:
            has_room = self._num_bytes + HEADER_BYTES <= self._max_bytes
            if not has_room or stream not in self._streams:
                return
        found = self._stream(stream)
        with contextlib.suppress(OSError), found.lock, self._counting(found.log):
            found.log.append(
                sequence=sequence,
                capture_s=capture_s,
                codec=Codec.PNG,
                payload=b"",
                is_last=True,
                is_look=True,
            )

    def mark_durable(self, stream: str, position: int) -> bool:
        """Note that the frames up to `position` (see `JournalReceipt`) are in durable segments.

        Returns False when all of them were marked before.
        """
        found = self._streams.get(stream)
        if found is None:
            return False
        with found.lock, self._counting(found.log):
            is_marked = found.log.mark_durable(position)
        if is_marked:
            self._count("marked")
        return is_marked

    def replay(
        self, stream: str, *, after: int = -1, max_bytes: int | None = None
    ) -> list[JournalEntry]:
        """The frames after position `after` that are not durable, in order of arrival.

        With `max_bytes` only the first of them: as many as fit and one more. The position of the
        last one is `after` for the next call, and an empty list says that there are no more.
        """
        found = self._streams.get(stream)
        if found is None:
            return []
        entries: list[JournalEntry] = []
        num_bytes = 0
        with found.lock:
            for entry in found.log.replay(after):
                entries.append(entry)
                num_bytes += len(entry.payload)
                if max_bytes is not None and num_bytes > max_bytes:
                    break
        return entries

    def newest_s(self, stream: str) -> float | None:
        """Capture time of the stream's last frame that is not durable; None where there is none."""
        found = self._streams.get(stream)
        if found is None:
            return None
        with found.lock:
            return found.log.newest_s

    def streams(self) -> list[str]:
        """Names of the streams that have something in the journal."""
        names = {path.parent.relative_to(self._root).as_posix() for path in self._root.rglob("@*")}
        return sorted(name for name in names if _is_name(name))

    def delete(self, stream: str) -> None:
        """Forget a stream."""
        with self._lock:
            found = self._streams.pop(stream, None)
        if found is not None:
            with found.lock:
                num_bytes = found.log.num_bytes
                found.log.remove()
            with self._lock:
                self._num_bytes -= num_bytes

    def forget(
        self, stream: str, start_s: float, end_s: float, sequences: Collection[int] = ()
    ) -> tuple[int, int]:
        """Delete some frames of a stream: those of `sequences`, and those whose sequence touches
        the span of capture times. Returns how many frames and bytes went.

        Raises:
            OSError: the disk fails; some of the frames may still be there.
        """
        found = self._streams.get(stream)
        if found is None:
            return 0, 0
        with found.lock, self._counting(found.log):
            return found.log.forget(start_s, end_s, sequences)

    def sync(self) -> None:
        """Force everything to the disk now. A failure is counted, and tried again at the next
        call."""
        with self._lock:
            streams = list(self._streams.values())
        for found in streams:
            with found.lock:
                try:
                    if found.log.sync():
                        self._count("syncs")
                except OSError as error:
                    logger.warning("cannot sync the journal", extra={"error": str(error)})
                    self._count("errors")

    def stats(self) -> JournalStats:
        """Totals since opening, and what is held now."""
        with self._lock:
            damaged_bytes = sum(found.log.damaged_bytes for found in self._streams.values())
            return JournalStats(
                **self._counts,
                damaged_bytes=damaged_bytes,
                num_streams=len(self._streams),
                num_bytes=self._num_bytes,
            )

    def close(self) -> None:
        """Sync and close."""
        self._stopping.set()
        if self._syncer is not None:
            self._syncer.join()
        self.sync()
        with self._lock:
            streams, self._streams = list(self._streams.values()), {}
        for found in streams:
            with found.lock:
                found.log.close()
        os.close(self._lock_descriptor)

    # ---- inside ----

    def _stream(self, name: str) -> _Stream:
        """The stream of that name, which is opened or made where it is not open."""
        with self._lock:
            found = self._streams.get(name)
            if found is None:
                if not _is_name(name):
                    raise ValueError(f"a journal's stream is 1-4 ids with / between, not {name!r}")
                log = JournalLog(
                    self._root / name, rotate_bytes=self._rotate_bytes, files=self._files
                )
                self._streams[name] = found = _Stream(log)
                self._num_bytes += log.num_bytes
            return found

    @contextlib.contextmanager
    def _counting(self, log: JournalLog) -> Iterator[None]:
        """Keep the total of bytes right while the block changes the files of one stream."""
        before = log.num_bytes
        try:
            yield
        finally:
            change = log.num_bytes - before
            with self._lock:
                self._num_bytes += change

    def _settle(self, log: JournalLog) -> Guarantee:
        if self._sync is SyncPolicy.ALWAYS and log.sync():
            self._count("syncs")
        return _GUARANTEES[self._sync]

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    def _sync_regularly(self) -> None:
        while not self._stopping.wait(_SYNC_INTERVAL_S):
            self.sync()


def _is_name(name: str) -> bool:
    parts = name.split("/")
    return len(parts) <= _MAX_NAME_PARTS and all(is_stream_id(part) for part in parts)
