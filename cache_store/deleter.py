"""`Deleter`: deletes streams and segments from the lower tiers, again and again until each has done
it."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from onlooker.cache_store.erasure import Erasure
from onlooker.cache_store.errors import DeletionRefused
from onlooker.cache_store.fence import Fences
from onlooker.cache_store.key import SegmentKey, StreamKey
from onlooker.cache_store.tombstones import Tombstones
from onlooker.cache_store.write_out import WriteOut
from onlooker.core.backoff import Backoff

logger = logging.getLogger(__name__)

_DEFAULT_BACKOFF = Backoff(min_s=1.0, max_s=60.0)


@dataclass(slots=True, eq=False)
class _Deletion:
    erasure: Erasure
    tried: "Future[tuple[str, ...]]" = field(default_factory=Future)
    """The tiers that the first attempt did not reach."""
    first_tier: int = 0
    """The tiers above this one, counted from the top, are done."""
    is_written: bool = False
    """Whether it is remembered over a restart."""
    refused: set[str] = field(default_factory=set)
    """The tiers that keep what they have, since another server owns the stream by now."""


@dataclass(frozen=True, slots=True)
class DeletionStats:
    """Deletions that are not done now, and totals since the start."""

    num_pending: int
    retried: int
    """Attempts after the first."""
    refused: int
    """Deletions that were given up, because too many were pending already."""
    overruled: int
    """Deletions of which a tier kept something, since another server owned the stream by then."""


class Deleter:
    """One thread, in which everything blocking is done. Safe to call from any thread.

    Args:
        write_outs: the lower tiers, from the top down.
        tombstones: remembers over restarts what is not done.
        fences: the epochs under which this process deletes; those of deletions that an earlier
            process left undone are noted there.
        wait_s: how long one attempt waits for a write to a tier that is under way.
        backoff: how long to wait after attempts that did not reach all tiers.
        max_streams: the most deletions that may be pending.
        max_segments: the most segments whose deletion may be pending, besides those of streams that
            are deleted as a whole.
    """

    def __init__(
        self,
        write_outs: Sequence[WriteOut],
        *,
        tombstones: Tombstones | None = None,
        fences: Fences | None = None,
        wait_s: float = 5.0,
        backoff: Backoff = _DEFAULT_BACKOFF,
        max_streams: int = 10_000,
        max_segments: int = 1_000_000,
    ) -> None:
        self._write_outs = tuple(write_outs)
        self._tombstones = tombstones or Tombstones(None)
        self._fences = fences or Fences()
        self._wait_s = wait_s
        self._backoff = backoff
        self._max_streams = max_streams
        self._max_segments = max_segments
        self._changed = threading.Condition()
        self._pending: dict[str, _Deletion] = {}
        self._gone: Counter[SegmentKey] = Counter()
        """Segments that are to be deleted one by one, by how many deletions name them."""
        self._new: deque[_Deletion] = deque()
        self._again: list[_Deletion] = []
        self._retried = self._refused = self._overruled = 0
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Go on with what an earlier process left undone, and start the thread."""
        try:
            left = self._tombstones.load()
        except OSError as error:
            left = []
            logger.warning("cannot tell what is to be deleted", extra={"error": str(error)})
        for erasure in self._still_due(left):
            self.delete(erasure)
        self._thread = threading.Thread(target=self._run, name="segment-deleter", daemon=True)
        self._thread.start()

    def delete(self, erasure: Erasure) -> "Future[tuple[str, ...]]":
        """Delete what the lower tiers have of a stream, or of some of its segments. Returns at
        once.

        The result comes after the first attempt: the names of the tiers that it did not reach,
        which are tried again until they are reached, also by the next process; and of those that
        refused it, since the stream is another server's by now: that one has to be asked.
        """
        keys = erasure.keys or frozenset()
        with self._changed:
            if (known := self._pending.get(erasure.name)) is not None:
                return known.tried
            deletion = _Deletion(replace(erasure, epoch=self._fences.epoch(erasure.stream)))
            if (
                len(self._pending) >= self._max_streams
                or len(self._gone) + len(keys) > self._max_segments
            ):
                self._refused += 1
                logger.warning("too many deletions are pending; one more is given up")
                deletion.tried.set_result(tuple(out.tier.name for out in self._write_outs))
                return deletion.tried
            self._pending[erasure.name] = deletion
            self._gone.update(keys)
            self._new.append(deletion)
            self._changed.notify_all()
            return deletion.tried

    def is_pending(self, stream_prefix: str) -> bool:
        """Whether a stream (see `StreamKey.prefix`) is deleted, but not yet everywhere."""
        return stream_prefix in self._pending

    def is_gone(self, key: SegmentKey) -> bool:
        """Whether a segment, or its stream, is deleted, but not yet everywhere."""
        return key in self._gone or key.stream_prefix in self._pending

    def unreached(self, stream_prefix: str) -> tuple[str, ...]:
        """The lower tiers, from the top down, that may still hold something that was deleted of a
        stream."""
        with self._changed:
            first = min(
                (
                    deletion.first_tier
                    for deletion in self._pending.values()
                    if deletion.erasure.stream.prefix == stream_prefix
                ),
                default=len(self._write_outs),
            )
        return tuple(out.tier.name for out in self._write_outs[first:])

    def stats(self) -> DeletionStats:
        """What is pending now, and totals since the start."""
        with self._changed:
            return DeletionStats(len(self._pending), self._retried, self._refused, self._overruled)

    def close(self, timeout_s: float) -> bool:
        """Try once more what was not tried yet, and stop. Returns False when an attempt still hangs
        after `timeout_s`."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _still_due(self, left: Sequence[Erasure]) -> list[Erasure]:
        """Those of the noted erasures that are to be done, under the newest epoch noted of each
        stream, so that nothing of a later owner is deleted. Of a life that went on under a newer
        epoch, since some of it was deleted then, the older erasure of all is over."""
        epochs: dict[str, int] = {}
        lives: dict[StreamKey, int] = {}
        for erasure in left:
            key, epoch = erasure.stream, erasure.epoch or 0
            stream = f"{key.tenant}/{key.stream}"
            epochs[stream] = max(epoch, epochs.get(stream, 0))
            lives[key] = max(epoch, lives.get(key, 0))
        for stream, epoch in epochs.items():
            if epoch:
                self._fences.own(stream, epoch)
        due = []
        for erasure in left:
            if erasure.keys is None and (erasure.epoch or 0) < lives[erasure.stream]:
                self._recorded(self._tombstones.remove, erasure)
            else:
                due.append(erasure)
        return due

    # ---- the thread ----

    def _run(self) -> None:
        num_failures = 0
        while batch := self._next_batch(num_failures):
            is_any_done = False
            for deletion in batch:
                is_any_done |= self._attempt(deletion)
            num_failures = 0 if is_any_done else num_failures + 1
            if is_any_done:
                # A tier that was reached for one stream may be reached for the others too.
                with self._changed:
                    self._new.extend(self._again)
                    self._again.clear()

    def _next_batch(self, num_failures: int) -> list[_Deletion]:
        """Wait for a deletion, or until those that failed are to be tried again; nothing when the
        end has come."""
        with self._changed:
            while True:
                pause_s = self._backoff.wait_s(num_failures) if self._again else None
                self._changed.wait_for(lambda: self._new or self._closing, pause_s)
                if self._new:
                    batch, self._new = list(self._new), deque()
                    return batch
                if self._closing:
                    return []
                if self._again:
                    batch, self._again = self._again, []
                    return batch

    def _attempt(self, deletion: _Deletion) -> bool:
        """Delete what is left of it; returns whether nothing is left."""
        is_first = not deletion.tried.done()
        epoch = self._fences.epoch(deletion.erasure.stream)
        if (epoch or 0) > (deletion.erasure.epoch or 0):  # the stream was claimed once more
            deletion.erasure = replace(deletion.erasure, epoch=epoch)
            deletion.is_written = False
        if not deletion.is_written:
            deletion.is_written = self._recorded(self._tombstones.add, deletion.erasure)
        unreached = [
            place
            for place in range(deletion.first_tier, len(self._write_outs))
            if not self._is_emptied(self._write_outs[place], deletion)
        ]
        with self._changed:
            self._retried += not is_first
            self._overruled += bool(deletion.refused) and not unreached
            if unreached:
                # What an upper tier still holds it may demote: all below are done once more.
                deletion.first_tier = unreached[0]
                self._again.append(deletion)
        if not unreached:
            self._recorded(self._tombstones.remove, deletion.erasure)
            with self._changed:
                del self._pending[deletion.erasure.name]
                for key in deletion.erasure.keys or ():
                    self._gone[key] -= 1
                    if not self._gone[key]:
                        del self._gone[key]
        if is_first:
            names = tuple(self._write_outs[place].tier.name for place in unreached)
            deletion.tried.set_result((*names, *sorted(deletion.refused - {*names})))
            if names:
                survives = deletion.is_written and self._tombstones.outlive
                extra = {"unreached": names, "also_after_a_restart": survives}
                logger.warning("something is deleted later", extra=extra)
        if deletion.refused and not unreached:
            extra = {"stream": deletion.erasure.stream.prefix, "tiers": sorted(deletion.refused)}
            logger.warning("not deleted, since another server owns the stream", extra=extra)
        return not unreached

    def _is_emptied(self, write_out: WriteOut, deletion: _Deletion) -> bool:
        """Whether nothing is left to do in a tier."""
        erasure = deletion.erasure
        deletion.refused.discard(write_out.tier.name)
        try:
            is_idle = write_out.discard(erasure, self._wait_s)
            stored: list[SegmentKey] | None = sorted(erasure.keys or ())
            if erasure.keys is None:
                stored = write_out.tier.keys(erasure.stream.prefix)
            return stored is not None and write_out.tier.delete_many(stored) and is_idle
        except DeletionRefused:
            deletion.refused.add(write_out.tier.name)
            return True
        except Exception:  # a fault in a tier must not end all deleting
            logger.exception("a tier failed to delete", extra={"tier": write_out.tier.name})
            return False

    def _recorded(self, record: Callable[[Erasure], None], erasure: Erasure) -> bool:
        try:
            record(erasure)
        except OSError as error:
            logger.warning("cannot note a deletion", extra={"error": str(error)})
            return False
        return True
