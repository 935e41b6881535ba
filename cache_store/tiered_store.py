"""Segments in RAM, on disk and in Redis behind one interface.

A put lands in RAM and is written down to every lower tier in the background; so evicting from a
tier normally only drops a copy. Reads look from the top down, each tier once for all keys, and
leave what they found in the tiers above; what a disk lacks is asked of Redis meanwhile.

    put --> memory --(evicted: dropped)            get <-- memory
       +--> write-out queue --> disk --+               <-- write-out queues
       +--> write-out queue --> Redis <+ (evicted      <-- disk -- promoted
                                      and not there)   <-- Redis - promoted
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from onlooker.cache_store.catalogue import Catalogue
from onlooker.cache_store.codecs.base import KvCodec
from onlooker.cache_store.daemon_pool import DaemonPool
from onlooker.cache_store.deleter import Deleter
from onlooker.cache_store.envelope import EncodedRecord, encode, transcode
from onlooker.cache_store.erasure import Erasure
from onlooker.cache_store.fence import Fences
from onlooker.cache_store.key import SegmentKey, StreamKey
from onlooker.cache_store.leases import Claim
from onlooker.cache_store.loads import KeyLoad, LoadResult, Loads
from onlooker.cache_store.lookup import (
    Lookup,
    PutReceipt,
    PutResult,
    StoreStats,
    StreamRows,
    lookup,
)
from onlooker.cache_store.lower_tiers import LowerTiers
from onlooker.cache_store.record import SegmentRecord
from onlooker.cache_store.refill import OnDoubt, Refill
from onlooker.cache_store.tier import MISS, Fetch, FetchOutcome, PutOutcome
from onlooker.cache_store.tiers.memory import MemoryTier
from onlooker.cache_store.write_out import WriteOut

logger = logging.getLogger(__name__)

OnDurable = Callable[[SegmentKey, str], None]

_COUNTED = ("misses", "joined", "not_durable", "refused", "forgotten", "demoted")


class TieredStore:
    """Thread-safe and blocking; nothing here knows of an event loop.

    Damaged and foreign records, and tiers that fail, are misses; no method raises for them.

    Args:
        memory: the top tier; the store takes over its `on_evicted`.
        write_outs: the lower tiers, from the top down, not yet started.
        memory_codec: applied in the caller's thread by `put`.
        on_durable: called in a writer thread with each key that a lower tier has stored, and that
            tier's name.
        on_doubt: called when a lower tier may have lost what it had (see `doubt`).
        deleter: of the same `write_outs`; by default one that forgets at the end of the process
            what it could not delete.
        fences: what the shared tier looks at before it writes; see `own`.
        max_beside: the most reads of one tier that go on while another is read for the same caller.
    """

    def __init__(
        self,
        memory: MemoryTier,
        write_outs: Sequence[WriteOut],
        *,
        memory_codec: KvCodec,
        on_durable: OnDurable | None = None,
        on_doubt: OnDoubt | None = None,
        deleter: Deleter | None = None,
        fences: Fences | None = None,
        max_beside: int = 4,
    ) -> None:
        self._fences = fences or Fences()
        self._memory = memory
        self._write_outs = tuple(write_outs)
        self._memory_codec = memory_codec
        self._on_durable = on_durable
        self._on_doubt = on_doubt
        # Guards where each key is while it moves between tiers. It is taken before the locks of the
        # tiers, and never held during I/O.
        self._lock = threading.RLock()
        self._catalogue = Catalogue(memory, self._write_outs)
        self._lower = LowerTiers(self._write_outs, on_found=self._arrived, max_beside=max_beside)
        self._loads = Loads()
        self._only_in_memory: set[SegmentKey] = set()
        self._counts: Counter[str] = Counter()
        self._hits: Counter[str] = Counter()
        self._rewriter = DaemonPool(1, name="segment-rewriter")
        self._deleter = deleter or Deleter(self._write_outs)
        self._refill = Refill(
            memory,
            self._write_outs,
            on_stored=self._stored,
            on_lost=self._lost,
            is_wanted=lambda key: not self._deleter.is_gone(key),
        )
        self._evicting: set[str] = set()
        """Names of tiers that throw records out by themselves."""

    def start(self) -> None:
        """Start the writer threads. Call once, before anything else."""
        self._memory.on_evicted = self._memory_evicted
        for write_out in self._write_outs:
            write_out.start(
                on_stored=partial(self._stored, write_out.tier.name), on_failed=self._write_failed
            )
        self._deleter.start()

    def close(self, timeout_s: float, *, hang_s: float = 5.0) -> bool:
        """Flush, stop all threads and close the tiers; False when not all was written in time.

        A thread that does not end within `hang_s` is left behind, and the tier that it waits for
        is not closed: both end with the process.
        """
        flushed = self.flush(timeout_s)
        is_idle = self._rewriter.close(hang_s)
        is_idle &= self._lower.close(hang_s)
        is_idle &= self._refill.close(hang_s)
        is_idle &= self._deleter.close(hang_s)
        for write_out in self._write_outs:
            if write_out.close(hang_s) and is_idle:
                write_out.tier.close()
            else:
                logger.warning("a tier hangs at the end", extra={"tier": write_out.tier.name})
        self._memory.close()
        return flushed

    # ---- writing ----

    def put(self, record: SegmentRecord) -> PutReceipt:
        """Keep a record. Returns without waiting for any I/O.

        A writable array is copied; a read-only one is handed over and must never change.
        What is put again under a key must mean the same: a tier that misses the second write, being
        full or unreachable, still has the first.
        """
        raw = replace(encode(record), epoch=self._fences.epoch(record.key))
        top = transcode(raw, self._memory_codec)
        with self._lock:
            if self._deleter.is_gone(record.key):
                self._counts["refused"] += 1
                return PutReceipt(PutResult.REFUSED, ())
            self._loads.take_over(record.key)
            self._only_in_memory.discard(record.key)
            queued = tuple(out.tier.name for out in self._write_outs if out.offer(raw))
            kept = self._memory.put_many([top])[0] is PutOutcome.STORED
            if queued:
                return PutReceipt(PutResult.QUEUED, queued)
            if not kept:
                self._counts["refused"] += 1
                return PutReceipt(PutResult.REFUSED, ())
            self._counts["not_durable"] += 1
            self._only_in_memory.add(record.key)
            return PutReceipt(PutResult.NOT_DURABLE, ())

    def write_again(self, keys: Sequence[SegmentKey], tier_name: str) -> Future[int]:
        """Queue these keys once more for a tier that does not have them because it was full or was
        away for long, as far as RAM still has them.

        The work is done in a thread of its own; the result is how many were queued.
        """
        return self._rewriter.submit(self._write_again, keys, tier_name)

    def own(self, stream: str, claim: Claim) -> None:
        """Write for ``tenant/stream`` under this claim from now on. Where another server had the
        stream before, what RAM and the queues have of it is dropped: it may be older than what is
        shared, or differ from it."""
        with self._lock:
            self._fences.own(stream, claim.epoch)
            if not claim.is_handed_over:
                return
            keys = [key for key in self._memory.keys("") if f"{key.tenant}/{key.stream}" == stream]
            for key in {key.stream_prefix: key for key in keys}.values():
                self._loads.take_over_stream(key.stream_prefix)
                for write_out in self._write_outs:
                    write_out.discard(Erasure(key.stream_key), 0.0)
            self._memory.delete_many(keys)
            self._only_in_memory.difference_update(keys)

    def delete_stream(self, stream: StreamKey) -> Future[tuple[str, ...]]:
        """Forget a stream in all tiers. Returns without waiting for any I/O; from now on nothing of
        it can be read, and nothing may be put.

        The result comes after a first attempt: the names of the tiers that could not be reached.
        They are tried again until they are, over restarts too where the store has a folder.
        """
        prefix = stream.prefix
        with self._lock:
            self._loads.take_over_stream(prefix)
            keys = self._memory.keys(prefix)
            self._memory.delete_many(keys)
            self._only_in_memory.difference_update(keys)
            return self._erase(Erasure(stream))

    def delete_segments(
        self, stream: StreamKey, keys: Sequence[SegmentKey]
    ) -> Future[tuple[str, ...]]:
        """Forget some segments of a stream in all tiers, as `delete_stream` forgets all. Their keys
        must never be put again."""
        with self._lock:
            for key in keys:
                self._loads.take_over(key)
            self._memory.delete_many(keys)
            self._only_in_memory.difference_update(keys)
            return self._erase(Erasure(stream, frozenset(keys)))

    def is_deleting(self, stream: StreamKey) -> bool:
        """Whether a deleted stream is still in some tier."""
        return self._deleter.is_pending(stream.prefix)

    def unreached(self, stream: StreamKey) -> tuple[str, ...]:
        """The lower tiers that may still hold something that was deleted of a stream."""
        return self._deleter.unreached(stream.prefix)

    def _erase(self, erasure: Erasure) -> Future[tuple[str, ...]]:
        for write_out in self._write_outs:
            write_out.discard(erasure, 0.0)
        # The tiers are emptied from the top down, each after its queue, so that what a tier
        # above still demotes meanwhile is deleted further down.
        return self._deleter.delete(erasure)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was put is written or given up; False when time ran out.

        Each lower tier may take `timeout_s` by itself.
        """
        return all(write_out.flush(timeout_s) for write_out in self._write_outs)

    # ---- reading ----

    def get_many(self, keys: Sequence[SegmentKey]) -> list[Lookup]:
        """Read records, in the order of `keys`. Blocks for as long as the tiers take that must be
        asked."""
        unique = list(dict.fromkeys(keys))
        with self._lock:
            found = {key: LoadResult(MISS, None) for key in unique if self._deleter.is_gone(key)}
            unique = [key for key in unique if key not in found]
            found.update(
                (key, LoadResult(fetch, self._memory.name))
                for key, fetch in zip(unique, self._memory.get_many(unique), strict=True)
                if fetch.record is not None
            )
            rest = [key for key in unique if key not in found]
            waiting = self._catalogue.find_waiting(rest)
            found.update(
                (key, LoadResult(Fetch(FetchOutcome.HIT, record), self._memory.name))
                for key, record in waiting.items()
            )
            mine, others = self._begin([key for key in rest if key not in found])
            self._counts["joined"] += len(others)
        self._end(self._lower.read(mine))
        found.update((load.key, load.done.result()) for load in (*mine, *others))
        with self._lock:
            for result in found.values():
                if result.tier is None:
                    self._counts["misses"] += 1
                else:
                    self._hits[result.tier] += 1
        lookups = {key: lookup(key, result) for key, result in found.items()}
        return [lookups[key] for key in keys]

    def rows(self, stream: StreamKey) -> StreamRows:
        """Everything but the KV of a stream's segments, from all tiers."""
        if self.is_deleting(stream):
            return StreamRows((), is_complete=True)
        found = self._catalogue.rows(stream)
        return replace(
            found, rows=tuple(row for row in found.rows if not self._deleter.is_gone(row.key))
        )

    def streams(self, prefix: str = "") -> tuple[list[StreamKey], bool]:
        """The streams of which something is stored, and whether every tier could be asked.

        `prefix` starts a key's text and ends with ``/``: ``model/tenant/stream/`` finds the
        generations of one stream.
        """
        found, is_complete = self._catalogue.streams(prefix)
        return [stream for stream in found if not self.is_deleting(stream)], is_complete

    # ---- tiers that lose what they had ----

    def doubt(self, tier_name: str) -> None:
        """A lower tier may have lost what it had. What RAM and other tiers have is written to it
        again, and until it is there the tier is in doubt."""
        with self._lock:
            self._note_only_in_memory(self._memory.keys(), besides=tier_name)
        if self._on_doubt is not None:
            self._on_doubt(tier_name, ())
        if tier_name not in self._evicting:  # else writing more would only make it evict more
            self._refill.begin(tier_name)

    def note_may_evict(self, tier_name: str, may_evict: bool) -> None:
        """Whether a lower tier throws records out by itself from now on."""
        if may_evict:
            self._evicting.add(tier_name)
            logger.warning(
                "a tier may evict segments, so that nothing in it is sure to stay",
                extra={"tier": tier_name},
            )
        else:
            self._evicting.discard(tier_name)

    def is_kept(self, tier_name: str) -> bool:
        """Whether a lower tier can be relied on to have what was reported as durable in it."""
        return tier_name not in self._evicting and not self._refill.is_doubted(tier_name)

    def _note_only_in_memory(self, keys: Sequence[SegmentKey], *, besides: str) -> None:
        """RAM may have the last copies of these keys, as the tier `besides` may have lost them:
        they are written down when they are evicted. The caller holds the lock."""
        elsewhere = {
            key
            for write_out in self._write_outs
            if write_out.tier.name != besides
            for key, there in zip(keys, write_out.tier.contains_many(keys), strict=True)
            if there
        }
        waiting = self._catalogue.find_waiting(keys)
        candidates = [key for key in keys if key not in elsewhere and key not in waiting]
        here = self._memory.contains_many(candidates)
        self._only_in_memory.update(
            key for key, there in zip(candidates, here, strict=True) if there
        )

    def _lost(self, tier_name: str, keys: Sequence[SegmentKey]) -> None:
        with self._lock:
            self._note_only_in_memory(keys, besides=tier_name)
        if self._on_doubt is not None:
            self._on_doubt(tier_name, keys)

    # ---- what is going on ----

    def stats(self) -> StoreStats:
        """Totals since the store was started, and what each tier and queue holds now."""
        tiers = (self._memory, *(write_out.tier for write_out in self._write_outs))
        tier_stats = {tier.name: tier.stats() for tier in tiers}
        queues = {out.tier.name: out.stats() for out in self._write_outs}
        deletions = self._deleter.stats()
        with self._lock:
            return StoreStats(
                tiers=tier_stats,
                queues=queues,
                hits={tier.name: self._hits[tier.name] for tier in tiers},
                deletions=deletions,
                doubts=self._refill.num_doubts,
                written_again=self._refill.num_written,
                read_beside=self._lower.num_beside,
                read_in_turn=self._lower.num_in_turn,
                **{name: self._counts[name] for name in _COUNTED},
            )

    def check_integrity(self) -> None:
        """Assert what must always hold in RAM. For tests."""
        with self._lock:
            self._memory.check_integrity()
            assert all(self._memory.contains_many(list(self._only_in_memory)))
            assert not any(self._memory.contains_many(self._loads.keys()))
        for write_out in self._write_outs:
            write_out.check_integrity()

    # ---- loads ----

    def _begin(self, keys: Sequence[SegmentKey]) -> tuple[list[KeyLoad], list[KeyLoad]]:
        """The loads that the caller must now run, and those that others run. The caller holds the
        lock."""
        others = [load for key in keys if (load := self._loads.get(key)) is not None]
        mine = [self._loads.begin(key) for key in keys if self._loads.get(key) is None]
        return mine, others

    def _arrived(self, load: KeyLoad, fetch: Fetch, record: EncodedRecord, depth: int) -> None:
        """Keep a record in the tiers above the one it came from, unless a put or a deletion took
        its key over meanwhile."""
        with self._lock:
            if self._loads.finish(load):
                self._memory.put_many([record])
                for write_out in self._write_outs[:depth]:
                    write_out.offer(record)
        load.end(LoadResult(fetch, self._write_outs[depth].tier.name))

    def _end(self, loads: Sequence[KeyLoad]) -> None:
        """End loads that found nothing."""
        for load in loads:
            with self._lock:
                self._loads.finish(load)
            load.end()

    def _write_again(self, keys: Sequence[SegmentKey], tier_name: str) -> int:
        write_out = next(out for out in self._write_outs if out.tier.name == tier_name)
        waiting = [key for key in keys if write_out.get(key) is None]
        present = write_out.tier.contains_many(waiting)
        self._stored(tier_name, [key for key, there in zip(waiting, present, strict=True) if there])
        absent = [key for key, there in zip(waiting, present, strict=True) if not there]
        with self._lock:
            records = [fetch.record for fetch in self._memory.get_many(absent)]
            queued = [r.key for r in records if r is not None and write_out.offer(r)]
            self._only_in_memory.difference_update(queued)
        return len(queued)

    # ---- demotion ----

    def demote(
        self,
        tier_name: str,
        keys: Sequence[SegmentKey],
        read: Callable[[SegmentKey], EncodedRecord | None],
    ) -> None:
        """Write what `tier_name` is about to evict to the tier below it, unless that has it
        already.

        Called by that tier; may block for the lower tier's time limits.
        """
        names = [write_out.tier.name for write_out in self._write_outs]
        below = self._write_outs[names.index(tier_name) + 1 :]
        if not below:
            self._forgot_unless_in_memory(keys)
            return
        present = below[0].tier.contains_many(keys)
        absent = [key for key, is_there in zip(keys, present, strict=True) if not is_there]
        records = [record for key in absent if (record := read(key)) is not None]
        outcomes = below[0].tier.put_many([transcode(record, below[0].codec) for record in records])
        stored = {
            record.key
            for record, outcome in zip(records, outcomes, strict=True)
            if outcome is PutOutcome.STORED
        }
        with self._lock:
            self._counts["demoted"] += len(stored)
        self._forgot_unless_in_memory([key for key in absent if key not in stored])

    def _memory_evicted(self, records: Sequence[EncodedRecord]) -> None:
        """Write down what RAM evicts and no lower tier has. `put` and `_arrived` call this under
        the lock, so that nobody meets a moment at which the record is nowhere."""
        for record in records:
            if record.key in self._only_in_memory:
                self._only_in_memory.discard(record.key)
                taken = [write_out.offer(record) for write_out in self._write_outs]
                self._counts["demoted" if any(taken) else "forgotten"] += 1

    def _stored(self, tier_name: str, keys: Sequence[SegmentKey]) -> None:
        with self._lock:
            self._only_in_memory.difference_update(keys)
        if self._on_durable is not None:
            for key in keys:
                self._on_durable(key, tier_name)

    def _write_failed(self, keys: Sequence[SegmentKey]) -> None:
        """Note that a lower tier gave these up; they may still be in another one, or only in
        RAM."""
        for write_out in self._write_outs:
            present = write_out.tier.contains_many(keys)
            keys = [key for key, is_there in zip(keys, present, strict=True) if not is_there]
        self._forgot_unless_in_memory(keys)

    def _forgot_unless_in_memory(self, keys: Sequence[SegmentKey]) -> None:
        """Note that no lower tier has these. Where RAM has one, that is the last copy; the others
        are forgotten."""
        with self._lock:
            waiting = self._catalogue.find_waiting(keys)
            lost = [key for key in keys if key not in waiting]
            kept = [
                key
                for key, is_there in zip(lost, self._memory.contains_many(lost), strict=True)
                if is_there
            ]
            self._only_in_memory.update(kept)
            self._counts["forgotten"] += len(lost) - len(kept)
