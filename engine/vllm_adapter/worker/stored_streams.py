"""`StoredStreams`: knows the stored segments of a stream again, a few at a time.

What is stored of a week is read for a minute and more. That is done in a thread beside the steps,
and what it brings is taken into the index in pieces, between steps, so that other streams go on.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

import torch

from onlooker.cache_store.daemon_pool import DaemonPool
from onlooker.engine.vllm_adapter.wire import StoredSegment, StoredSegments
from onlooker.engine.vllm_adapter.worker.arena import SegmentArena

_AT_ONCE = 512
"""Segments of one piece."""

_NUM_THREADS = 4
"""Streams that are read at once."""

Rows = tuple[list[tuple[StoredSegment, torch.Tensor | None]], bool]
"""What `Vault.rows` gives."""


GetRows = Callable[[str], Rows]
"""A function that reads the stored segments of one life of a stream; may take long."""


@dataclass(slots=True)
class _Reading:
    """One stream that is being restored."""

    found: Future[Rows]
    left: Iterator[tuple[StoredSegment, torch.Tensor | None]] | None = None


class StoredStreams:
    """See the module."""

    def __init__(self, rows: GetRows, arena: SegmentArena) -> None:
        self._rows = rows
        self._arena = arena
        self._threads = DaemonPool(_NUM_THREADS, name="stored-streams")
        self._readings: dict[str, _Reading | None] = {}
        """By the beginning of the keys; None once all is taken."""

    def next(self, prefix: str, *, is_first: bool) -> StoredSegments:
        """Know the next segments of one life of a stream; those of none while it is being read.

        Args:
            is_first: whether to begin anew.
        """
        if is_first or prefix not in self._readings:
            self._readings[prefix] = _Reading(self._threads.submit(self._rows, prefix))
        reading = self._readings[prefix]
        if reading is None:  # another worker still has some
            return StoredSegments([], is_complete=True, is_done=True)
        if not reading.found.done():
            return StoredSegments([], is_complete=True, is_done=False)
        rows, is_complete = reading.found.result()
        if reading.left is None:
            reading.left = iter(rows)
        piece: list[StoredSegment] = []
        for segment, entries in reading.left:
            if entries is not None:
                self._arena.add_entries(segment.key, entries)
            piece.append(segment)
            if len(piece) == _AT_ONCE:
                return StoredSegments(piece, is_complete, is_done=False)
        self._readings[prefix] = None
        return StoredSegments(piece, is_complete, is_done=True)

    def forget(self, prefix: str) -> None:
        """Let go of a stream that is not wanted any more."""
        self._readings.pop(prefix, None)

    def close(self) -> None:
        """Stop reading."""
        self._threads.shutdown(wait=False, cancel_futures=True)
