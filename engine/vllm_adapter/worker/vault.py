"""`Vault`: segments as records of the tiered store, and back.

Torch on this side, bytes and numpy on the other. A record that cannot be read is a missing segment;
nothing here raises for what a tier does.
"""

import json
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch

from onlooker.cache_store.config import CacheStoreSection
from onlooker.cache_store.key import SegmentKey
from onlooker.cache_store.leases import Claim
from onlooker.cache_store.opening import open_store
from onlooker.cache_store.record import SegmentRecord
from onlooker.core.clock import SystemClock
from onlooker.engine.memory.plan import SaveSpan
from onlooker.engine.memory.ranking import ScoreName
from onlooker.engine.vllm_adapter.wire import StoredSegment
from onlooker.engine.vllm_adapter.worker.arena import Segment
from onlooker.engine.vllm_adapter.worker.head_share import ALL_HEADS, HeadShare
from onlooker.engine.vllm_adapter.worker.index_rows import IndexRows
from onlooker.engine.vllm_adapter.worker.other_shares import OtherShares
from onlooker.engine.vllm_adapter.worker.rotary import Rotary
from onlooker.engine.vllm_adapter.worker.streams import DeviceEvent
from onlooker.engine.vllm_adapter.worker.write_behind import WriteBehind

_log = logging.getLogger("onlooker.engine.vllm")

CLOSE_TIMEOUT_S = 10.0
"""Seconds for writing down, at the end, what is still queued."""

_DOUBTFUL_ASKS = 2
"""After a doubt is over. Whoever hears at the first that there was a doubt asks at the second about
what it took for durable before."""

_TORCH = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Vault:
    """The tiered store of one worker. Thread-safe as far as the store is; blocking.

    Args:
        settings: of the stores of all workers together.
        score: the score whose entries are stored with the segments.
        index_layers: the layers of which there are entries; None: all.
        share: the heads of which this worker has the keys and values.
        max_behind: the most segments that wait to be handed to the store after an event.
    """

    def __init__(
        self,
        settings: CacheStoreSection,
        rotary: Rotary,
        *,
        score: ScoreName = "mean_key",
        index_layers: tuple[int, ...] | None = None,
        share: HeadShare = ALL_HEADS,
        max_behind: int = 256,
    ) -> None:
        self._share = share
        self._durable_tier = "disk" if settings.disk is not None else "redis"
        self._lock = threading.Lock()
        self._undurable: set[str] = set()
        self._again: Future[int] | None = None
        self._num_doubtful_asks = 0
        """How many more times `undurable` must take what it is asked about for lost, as the durable
        tier may have lost it."""
        self._seen_again: set[str] = set()
        """Keys that were stored, or seen to be there, since the doubt began."""
        self._store = open_store(
            share.store(settings),
            clock=SystemClock(),
            on_durable=self._note_durable,
            on_doubt=self._note_doubt,
        )
        self._rotary = rotary
        self._rows = IndexRows(score, index_layers)
        self._beside = WriteBehind(max_behind)
        self._elsewhere = OtherShares(share, settings, self._store)

    def save(
        self,
        span: SaveSpan,
        segment: Segment | Future[Segment],
        entries: torch.Tensor | None,
        *,
        after: DeviceEvent | None = None,
    ) -> None:
        """Hand a segment and its index entries over for writing. `after`: the event after which
        they can be read; then that is waited for, and the record is made, in a thread beside. So it
        is where the segment is still on its way."""
        with self._lock:
            self._undurable.add(span.key)
        if after is None and isinstance(segment, Segment):
            self._save(span, segment, entries)
        else:
            self._beside.do(partial(self._save_after, after, span, segment, entries))

    def _save_after(
        self,
        event: DeviceEvent | None,
        span: SaveSpan,
        segment: Segment | Future[Segment],
        entries: torch.Tensor | None,
    ) -> None:
        if event is not None:
            event.wait()
        self._save(span, segment if isinstance(segment, Segment) else segment.result(), entries)

    def _save(self, span: SaveSpan, segment: Segment, entries: torch.Tensor | None) -> None:
        record = SegmentRecord(
            key=self._share.key(span.key),
            base=segment.base,
            num_tokens=segment.num_tokens,
            start_s=span.start_s,
            end_s=span.end_s,
            dtype=str(segment.keys.dtype).removeprefix("torch."),
            kv=_to_numpy(torch.stack([segment.keys, segment.values], 1).transpose(2, 3)),
            index_row=self._rows.stored(entries),
            meta={
                "offsets": json.dumps(span.offsets),
                "index": self._rows.name,
                **span.meta,
            },
        )
        self._store.put(record)

    def load(self, keys: Sequence[str]) -> dict[str, tuple[Segment, str]]:
        """Those of the segments of `keys` that can be read, each with its tier; see
        `Backing.load`."""
        self._beside.settle()
        return {
            self._share.text(found.key): (self._segment(found.record), found.tier or "memory")
            for found in self._store.get_many([self._share.key(key) for key in keys])
            if found.record is not None
        }

    def undurable(self, keys: Sequence[str]) -> list[str]:
        """Which of `keys`, saved by this process, are not yet in the tier that outlives it. They
        are handed over once more, in case that tier had no room or was away."""
        is_over = self._store.is_kept(self._durable_tier)
        with self._lock:
            if self._num_doubtful_asks:
                self._undurable.update(key for key in keys if key not in self._seen_again)
                self._num_doubtful_asks -= is_over
                if not self._num_doubtful_asks:
                    self._seen_again.clear()
            found = [key for key in keys if key in self._undurable]
        self._hand_over_again(found)
        return found

    def unwritten(self, keys: Sequence[str]) -> list[str]:
        """Which of `keys`, saved by this process, are not yet in the tier that outlives it; all of
        them while that cannot be relied on. They are handed over once more, as by `undurable`,
        which is for those who keep a journal: it counts how often it was asked."""
        if not self.is_kept():
            return list(keys)
        with self._lock:
            found = [key for key in keys if key in self._undurable]
        self._hand_over_again(found)
        return found

    def _hand_over_again(self, found: Sequence[str]) -> None:
        if found and (self._again is None or self._again.done()):
            keys_again = [self._share.key(key) for key in found]
            self._again = self._store.write_again(keys_again, self._durable_tier)

    def is_kept(self) -> bool:
        """Whether the tier that outlives the process can be relied on now: it has lost nothing, or
        has it again, and does not evict by itself."""
        return not self._num_doubtful_asks and self._store.is_kept(self._durable_tier)

    def forget(self, keys: Sequence[str]) -> None:
        """Stop minding whether these segments are durable. They age out of their tiers by
        themselves."""
        with self._lock:
            self._undurable.difference_update(keys)

    def totals(self) -> dict[str, dict[str, int]]:
        """Counts by tier, then by name: those of the tier itself and of the queue before it."""
        stats = self._store.stats()
        totals = {name: asdict(tier) for name, tier in stats.tiers.items()}
        for name, counts in totals.items():
            queue = stats.queues.get(name)
            counts["failed"] = 0 if queue is None else queue.failed
            counts["queued_bytes"] = 0 if queue is None else queue.num_bytes
            counts["foreign"] += self._elsewhere.found[name]
        return totals

    def own(self, stream: str, claim: Claim) -> None:
        """Write for ``tenant/stream`` under this claim from now on; see `TieredStore.own`."""
        self._beside.settle()
        if claim.is_handed_over:
            with self._lock:
                self._undurable = {key for key in self._undurable if f"/{stream}/" not in key}
        self._store.own(stream, claim)

    def is_writing(self, prefix: str) -> bool:
        """Whether some of a stream, saved by this process, is not yet in the tier that outlives
        it."""
        with self._lock:
            return any(key.startswith(prefix) for key in self._undurable)

    def forget_stream(self, prefix: str) -> None:
        """Delete all of one life of a stream, in every tier. Returns without waiting for that: it
        goes on in the background until every tier has done it, see `unreached`."""
        self._beside.settle()  # else what is written behind would come after
        with self._lock:
            self._undurable = {key for key in self._undurable if not key.startswith(prefix)}
        self._store.delete_stream(self._share.stream(prefix))

    def delete(self, prefix: str, keys: Sequence[str]) -> None:
        """Delete segments of one life of a stream, in every tier, as `forget_stream` deletes
        all."""
        self._beside.settle()
        with self._lock:
            self._undurable.difference_update(keys)
            self._seen_again.difference_update(keys)
        self._store.delete_segments(
            self._share.stream(prefix), [self._share.key(key) for key in keys]
        )

    def unreached(self, prefix: str) -> list[str]:
        """The tiers that may still hold something that was deleted of one life of a stream."""
        return list(self._store.unreached(self._share.stream(prefix)))

    def generations(self, prefix: str) -> tuple[list[int], bool]:
        """Numbers of the lives of a stream (``model/tenant/stream/``) of which something is stored,
        and whether every tier could be asked, so that these are all."""
        streams, is_complete = self._store.streams(self._share.prefix(prefix))
        if is_complete and not streams:
            self._elsewhere.look(prefix)
        return sorted(stream.generation for stream in streams), is_complete

    def rows(self, prefix: str) -> tuple[list[tuple[StoredSegment, torch.Tensor | None]], bool]:
        """The stored segments of one life of a stream, each with its index entries, and whether
        every tier could be asked, so that these are all. There are no entries (None) where they
        were made for another score."""
        found = []
        stored = self._store.rows(self._share.stream(prefix))
        for head in stored.rows:
            meta = {name: str(value) for name, value in head.meta.items()}
            text = self._share.text(head.key)
            segment = StoredSegment(text, head.start_s, head.end_s, meta)
            entries = self._rows.entries(head.index_row, meta.get("index"), _TORCH[head.dtype])
            found.append((segment, entries))
        return found, stored.is_complete

    def moves(self) -> dict[str, int]:
        """Segments that went from one tier to another or to none, by what became of them: totals
        since the start."""
        stats = self._store.stats()
        return {
            "demoted": stats.demoted,
            "forgotten": stats.forgotten,
            "not_durable": stats.not_durable,
            "doubted": stats.doubts,
            "written_again": stats.written_again,
            "deletion_retried": stats.deletions.retried,
            "deletion_refused": stats.deletions.refused,
            "read_beside": stats.read_beside,
            "read_in_turn": stats.read_in_turn,
            "write_waited": self._beside.num_waits,
        }

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is written that was handed over; returns whether it is."""
        self._beside.settle()
        return self._store.flush(timeout_s)

    def close(self) -> None:
        """Write down what is queued and stop."""
        self._beside.close()
        self._elsewhere.close()
        if not self._store.close(CLOSE_TIMEOUT_S):
            _log.warning("not all segments were written at the end")

    def _note_durable(self, key: SegmentKey, tier: str) -> None:
        if tier == self._durable_tier:
            with self._lock:
                text = self._share.text(key)
                self._undurable.discard(text)
                if self._num_doubtful_asks:
                    self._seen_again.add(text)

    def _note_doubt(self, tier: str, lacking: Sequence[SegmentKey]) -> None:
        if tier != self._durable_tier:
            return
        with self._lock:
            if lacking:
                texts = {self._share.text(key) for key in lacking}
                self._seen_again -= texts
                self._undurable |= texts
            else:
                self._num_doubtful_asks = _DOUBTFUL_ASKS
                self._seen_again.clear()

    def _segment(self, record: SegmentRecord) -> Segment:
        kv = _to_torch(record).transpose(2, 3)
        keys, values = kv[:, 0].contiguous(), kv[:, 1].contiguous()
        offsets = json.loads(str(record.meta.get("offsets", "[]")))
        plain = None
        if offsets:
            plain = self._rotary.remove(keys, torch.tensor(offsets) + record.base)
        return Segment(keys, values, record.base, plain)


def _to_numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    tensor = tensor.contiguous()
    array = (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    array.flags.writeable = False  # handed over: the store need not copy it
    return array


def _to_torch(record: SegmentRecord) -> torch.Tensor:
    array = np.array(record.kv)  # a copy of our own: the store's is read-only and may be shared
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if record.dtype == "bfloat16" else tensor
