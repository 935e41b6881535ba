"""`Meanings`: which sentences of diaries are near in meaning to what is asked.

Their vectors are made when a stream's diary is first asked, beside the event loop, and kept in
memory only: after a restart they are made again. A sentence that a diary tells twice has one.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from threading import Lock

import numpy as np
import xxhash
from numpy.typing import NDArray

from onlooker.cache_store.config import DiarySection
from onlooker.cache_store.daemon_pool import DaemonPool
from onlooker.cache_store.diary import DiaryEntry
from onlooker.core.clock import Clock
from onlooker.core.errors import Overloaded
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.core.waiting import within
from onlooker.streams.meaning.embedder import Embedder

TOGETHER = 512
"""Texts that are embedded at once."""

BESIDE_BYTES = 280
"""Room that a vector takes beside its numbers: the digest of its text, its times, and its places
in tables."""

_DTYPE = np.float16
"""Of vectors that are kept: half the room, and nearness to three digits."""


@dataclass(frozen=True, slots=True)
class _Meaning:
    """A sentence's vector, with the times of the newest entry that was looked at and says it."""

    vector: bytes
    start_s: float
    end_s: float
    wall_s: float


class Meanings:
    """Of the diaries of all streams. May be called from any thread, but for `near` and `close`,
    which are for the event loop.

    Args:
        executor: has one thread, for all of the embedder's work; given by tests.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        settings: DiarySection,
        clock: Clock,
        metrics: Metrics,
        executor: Executor | None = None,
    ) -> None:
        self._embedder, self._settings = embedder, settings
        self._clock, self._metrics = clock, metrics
        self._executor = executor or DaemonPool(1, name="meaning")
        self._vector_bytes = BESIDE_BYTES + embedder.num_dims * np.dtype(_DTYPE).itemsize
        self._lock = Lock()
        self._tables: OrderedDict[StreamId, dict[bytes, _Meaning]] = OrderedDict()
        """Of each stream by the digests of texts; last the one that was asked last."""
        self._num_vectors = 0
        self._num_deletions = 0

    @property
    def num_deletions(self) -> int:
        """How often something was deleted so far: who reads entries notes it before."""
        return self._num_deletions

    async def near(
        self, stream_id: StreamId, asked: str, entries: Sequence[DiaryEntry], *, num_deletions: int
    ) -> list[DiaryEntry]:
        """Of `entries` those that are nearest in meaning to the words `asked`, in order of time: at
        least as near as `min_nearness`, and at most `max_near`; of equally near ones the first.

        Args:
            num_deletions: as it was before `entries` were read; what was deleted since is not
                kept.

        Raises:
            Overloaded: the vectors could not be made in time; they are there for the next question.
        """
        work = partial(self._near, stream_id, asked, entries, num_deletions)
        done = asyncio.get_running_loop().run_in_executor(self._executor, work)
        try:
            return await within(self._clock, self._settings.timeout_s, asyncio.shield(done))
        except TimeoutError as error:
            raise Overloaded("the diary's sentences could not be compared in time") from error

    def forget(self, stream_id: StreamId, start_s: float, end_s: float) -> None:
        """Delete the vectors of what tells of any of a span of stream time."""
        with self._lock:
            self._num_deletions += 1
            self._delete(
                stream_id,
                lambda known: known.start_s <= end_s and known.end_s >= start_s,
            )

    def delete(self, stream_id: StreamId) -> None:
        """Delete the vectors of a stream."""
        with self._lock:
            self._num_deletions += 1
            self._delete(stream_id, lambda known: True)

    def sweep(self, before_wall_s: float) -> None:
        """Delete the vectors of entries, of all streams, that begin before a wall time."""
        with self._lock:
            self._num_deletions += 1
            for stream_id in list(self._tables):
                self._delete(stream_id, lambda known: known.wall_s < before_wall_s)

    def close(self) -> None:
        """Take no more questions."""
        self._executor.shutdown(wait=False)

    # ---- in the thread

    def _near(
        self, stream_id: StreamId, asked: str, entries: Sequence[DiaryEntry], num_deletions: int
    ) -> list[DiaryEntry]:
        (wanted,) = self._embedder.embed([asked])
        if not entries or not wanted.any():
            return []
        digests = [_digest(entry.text) for entry in entries]
        newest = _newest(digests, entries)
        vectors = self._vectors(stream_id, newest, num_deletions)
        matrix = np.frombuffer(b"".join(vectors[one] for one in newest), _DTYPE)
        products = matrix.reshape(len(newest), -1).astype(np.float32) @ wanted
        nearness = dict(zip(newest, products.tolist(), strict=True))
        near = [
            at for at, one in enumerate(digests) if nearness[one] >= self._settings.min_nearness
        ]
        near.sort(key=lambda at: -nearness[digests[at]])
        found = [entries[at] for at in near[: self._settings.max_near]]
        return sorted(found, key=lambda one: one.start_s)

    def _vectors(
        self, stream_id: StreamId, newest: dict[bytes, DiaryEntry], num_deletions: int
    ) -> dict[bytes, bytes]:
        """The vectors of texts by their digests. `newest`: the newest entry that has each."""
        with self._lock:
            table = self._tables.get(stream_id, {})
            vectors = {one: table[one].vector for one in newest if one in table}
        missing = [one for one in newest if one not in vectors]
        for start in range(0, len(missing), TOGETHER):
            part = missing[start : start + TOGETHER]
            made = self._embedder.embed([newest[one].text for one in part])
            vectors.update(zip(part, _packed(made), strict=True))
        self._metrics.diary_vectors_total.labels("made").inc(len(missing))
        with self._lock:
            if num_deletions == self._num_deletions:
                self._keep(stream_id, newest, vectors)
        return vectors

    # ---- the lock is held

    def _keep(
        self, stream_id: StreamId, newest: dict[bytes, DiaryEntry], vectors: dict[bytes, bytes]
    ) -> None:
        table = self._tables.setdefault(stream_id, {})
        self._tables.move_to_end(stream_id)
        self._num_vectors -= len(table)
        for digest, entry in newest.items():
            known = table.get(digest)
            if known is None or known.start_s < entry.start_s:
                table[digest] = _Meaning(vectors[digest], entry.start_s, entry.end_s, entry.wall_s)
        self._num_vectors += len(table)
        self._let_go(self._settings.vector_bytes // self._vector_bytes)
        self._tell()

    def _let_go(self, max_vectors: int) -> None:
        """Let vectors go while there are too many: of the stream that was not asked for longest,
        those that were made first."""
        while (num_over := self._num_vectors - max_vectors) > 0:
            stream_id, table = next(iter(self._tables.items()))
            for digest in list(table)[:num_over]:
                del table[digest]
                self._num_vectors -= 1
                self._metrics.diary_vectors_total.labels("let_go").inc()
            if not table:
                del self._tables[stream_id]

    def _delete(self, stream_id: StreamId, is_gone: Callable[[_Meaning], bool]) -> None:
        table = self._tables.get(stream_id)
        if table is None:
            return
        gone = [digest for digest, known in table.items() if is_gone(known)]
        for digest in gone:
            del table[digest]
        if not table:
            del self._tables[stream_id]
        self._num_vectors -= len(gone)
        self._metrics.diary_vectors_total.labels("deleted").inc(len(gone))
        self._tell()

    def _tell(self) -> None:
        self._metrics.diary_vector_bytes.set(self._num_vectors * self._vector_bytes)


def _digest(text: str) -> bytes:
    return xxhash.xxh3_128_digest(text.encode())


def _newest(digests: Sequence[bytes], entries: Sequence[DiaryEntry]) -> dict[bytes, DiaryEntry]:
    """The newest entry of each text."""
    found: dict[bytes, DiaryEntry] = {}
    for digest, entry in zip(digests, entries, strict=True):
        if digest not in found or found[digest].start_s < entry.start_s:
            found[digest] = entry
    return found


def _packed(vectors: NDArray[np.float32]) -> Iterable[bytes]:
    return (one.tobytes() for one in vectors.astype(_DTYPE))
