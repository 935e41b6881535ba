"""`Refill`: gives a tier again what it may have lost, as far as RAM or another tier has it."""

import logging
import threading
from collections.abc import Callable, Sequence
from itertools import islice

from onlooker.cache_store.daemon_pool import DaemonPool
from onlooker.cache_store.envelope import EncodedRecord
from onlooker.cache_store.key import SegmentKey
from onlooker.cache_store.tiers.memory import MemoryTier
from onlooker.cache_store.write_out import WriteOut

logger = logging.getLogger(__name__)

_BATCH = 64
"""How many keys are asked about, and read, at once."""


OnKeys = Callable[[str, Sequence[SegmentKey]], None]
"""Gets the name of a tier, and keys."""

OnDoubt = OnKeys
"""Gets the name of a tier that is in doubt, and keys that it was found to lack: none at first, when
it may lack anything."""


class Refill:
    """Which tiers are in doubt, and the writing that ends the doubt. Thread-safe.

    A tier is in doubt from `begin` until it was seen to have every record that RAM or another tier
    has. So a tier that is away, or full, stays in doubt.

    Args:
        on_stored: called with keys that the tier was seen to have.
        on_lost: called with keys that it was seen not to have. Both are called in a thread of the
            refill, without any lock held.
        is_wanted: whether a key is not one of a deleted stream.
        flush_s: how long the records of one batch are waited for until the tier is asked again.
        retry_s: how long to pause when it still lacks some.
    """

    def __init__(
        self,
        memory: MemoryTier,
        write_outs: Sequence[WriteOut],
        *,
        on_stored: OnKeys,
        on_lost: OnKeys,
        is_wanted: Callable[[SegmentKey], bool],
        flush_s: float = 1.0,
        retry_s: float = 1.0,
    ) -> None:
        self._memory = memory
        self._write_outs = {write_out.tier.name: write_out for write_out in write_outs}
        self._on_stored, self._on_lost, self._is_wanted = on_stored, on_lost, is_wanted
        self._flush_s = flush_s
        self._retry_s = retry_s
        self._lock = threading.Lock()
        self._doubts: dict[str, int] = {}
        """Tiers in doubt, each with the number of the doubt."""
        self._num_doubts = 0
        self._num_written = 0
        self._closing = threading.Event()
        self._pool = DaemonPool(max(1, len(self._write_outs)), name="segment-refill")

    @property
    def num_doubts(self) -> int:
        """How often a tier has come into doubt so far."""
        return self._num_doubts

    @property
    def num_written(self) -> int:
        """Records that were queued again so far."""
        return self._num_written

    def is_doubted(self, tier_name: str) -> bool:
        """Whether a tier may lack some of what it once stored."""
        return tier_name in self._doubts

    def begin(self, tier_name: str) -> None:
        """A tier may have lost what it had. Ends an earlier refill of it, and begins anew."""
        with self._lock:
            self._num_doubts += 1
            number = self._doubts[tier_name] = self._num_doubts
        if not self._closing.is_set():
            self._pool.submit(self._run, tier_name, number)

    def close(self, timeout_s: float) -> bool:
        """Stop; what is in doubt stays so. Returns False when a tier still hangs after
        `timeout_s`."""
        self._closing.set()
        return self._pool.close(timeout_s)

    # ---- the thread ----

    def _run(self, tier_name: str, number: int) -> None:
        write_out = self._write_outs[tier_name]
        keys = iter(self._known_elsewhere(tier_name))
        while batch := list(islice(keys, _BATCH)):
            while not self._is_whole(write_out, batch):
                if not self._goes_on(tier_name, number):
                    return
        with self._lock:
            if self._doubts.get(tier_name) != number:
                return
            del self._doubts[tier_name]
        logger.warning("a tier has all segments again that were left", extra={"tier": tier_name})

    def _goes_on(self, tier_name: str, number: int) -> bool:
        is_over = self._closing.wait(self._retry_s)
        return not is_over and self._doubts.get(tier_name) == number

    def _known_elsewhere(self, tier_name: str) -> list[SegmentKey]:
        keys = set(self._memory.keys())
        for name, other in self._write_outs.items():
            if name != tier_name:
                keys.update(other.tier.keys() or ())
        return sorted(keys)

    def _is_whole(self, write_out: WriteOut, keys: Sequence[SegmentKey]) -> bool:
        """Whether the tier has those of `keys` that are still to be had; writes what it lacks."""
        absent = self._absent(write_out, keys)
        if absent is None:
            return False
        if not absent:
            return True
        self._on_lost(write_out.tier.name, absent)
        for record in self._read(write_out.tier.name, absent):
            while not write_out.offer(record):
                write_out.flush(self._flush_s)
                if self._closing.is_set():
                    return False
            self._num_written += 1
        write_out.flush(self._flush_s)
        return self._absent(write_out, absent) == []

    def _absent(self, write_out: WriteOut, keys: Sequence[SegmentKey]) -> list[SegmentKey] | None:
        """Those of `keys` that the tier lacks and that are still to be had; None where the tier
        does not tell of all: one that cannot be reached is not known to lack anything. What
        another tier may have, but cannot tell, is still to be had."""
        name = write_out.tier.name
        wanted = [key for key in keys if self._is_wanted(key)]
        present = write_out.tier.contains_many(wanted)
        self._on_stored(name, [key for key, is_in in zip(wanted, present, strict=True) if is_in])
        if None in present:
            return None
        absent = [key for key, is_in in zip(wanted, present, strict=True) if not is_in]
        elsewhere = [self._memory.contains_many(absent)] + [
            other.tier.contains_many(absent)
            for other in self._write_outs.values()
            if other is not write_out
        ]
        return [key for key, *had in zip(absent, *elsewhere, strict=True) if set(had) != {False}]

    def _read(self, tier_name: str, keys: Sequence[SegmentKey]) -> list[EncodedRecord]:
        found = self._memory.peek_many(keys)
        missing = [key for key in keys if key not in found]
        for name, other in self._write_outs.items():
            if name != tier_name and missing:
                fetches = other.tier.get_many(missing)
                found.update((f.record.key, f.record) for f in fetches if f.record is not None)
                missing = [key for key in missing if key not in found]
        return list(found.values())
