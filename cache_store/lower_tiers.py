"""`LowerTiers`: reads from the tiers below RAM, from several of them at once where it can.

A tier whose index lies in RAM tells without I/O which keys it lacks. So what a disk lacks is asked
of Redis while the disk still reads what it has, and a question that needs both waits for the slower
of them, not for their sum.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future

from onlooker.cache_store.daemon_pool import DaemonPool
from onlooker.cache_store.envelope import EncodedRecord
from onlooker.cache_store.loads import KeyLoad
from onlooker.cache_store.tier import Fetch, FetchOutcome
from onlooker.cache_store.write_out import WriteOut

logger = logging.getLogger(__name__)

OnFound = Callable[[KeyLoad, Fetch, EncodedRecord, int], None]
"""Gets a load, what a tier has brought for it, the record in that, and the depth of the tier."""


class LowerTiers:
    """Thread-safe and blocking.

    Args:
        write_outs: the lower tiers, from the top down.
        on_found: called in the thread that has read, once for each load whose record was found.
        max_beside: the most reads that go on beside other reads of the same caller; 0: each asks
            one tier after the other.
    """

    def __init__(
        self, write_outs: Sequence[WriteOut], *, on_found: OnFound, max_beside: int
    ) -> None:
        self._write_outs = write_outs
        self._on_found = on_found
        self._threads = DaemonPool(max(1, max_beside), name="segment-beside")
        self._free = threading.Semaphore(max_beside)
        self._lock = threading.Lock()
        self.num_beside = 0
        """Reads of one tier that went on while another tier was read for the same caller."""
        self.num_in_turn = 0
        """Reads that had to wait for those of another tier, as too many went on."""

    def read(self, loads: Sequence[KeyLoad]) -> list[KeyLoad]:
        """Ask the tiers for what is loaded; returns the loads that found nothing."""
        return self._read(list(loads), 0)

    def close(self, timeout_s: float) -> bool:
        """Stop; returns whether no thread hangs."""
        return self._threads.close(timeout_s)

    def _read(self, loads: list[KeyLoad], depth: int) -> list[KeyLoad]:
        """As `read`, from the tier at `depth` on down."""
        if not loads or depth == len(self._write_outs):
            return loads
        here, lacking = self._parted(loads, depth)
        lacking = self._ask(lacking, depth)  # nothing of them is there, so it answers at once
        if not here or not lacking:
            return self._read(self._ask(here, depth) + lacking, depth + 1)
        is_free = self._free.acquire(blocking=False)
        with self._lock:
            self.num_beside += is_free
            self.num_in_turn += not is_free
        below = self._begin_beside(lacking, depth + 1) if is_free else None
        if below is None:
            return self._read(self._ask(here, depth) + lacking, depth + 1)
        try:
            rest = self._read(self._ask(here, depth), depth + 1)
        finally:
            found_nothing = _result_of(below, otherwise=lacking)
        return rest + found_nothing

    def _begin_beside(self, loads: list[KeyLoad], depth: int) -> Future[list[KeyLoad]] | None:
        """As `_read`, in another thread; None once this is closed: who still asks does so in
        turn."""
        try:
            return self._threads.submit(self._read_beside, loads, depth)
        except RuntimeError:
            self._free.release()
            return None

    def _read_beside(self, loads: list[KeyLoad], depth: int) -> list[KeyLoad]:
        try:
            return self._read(loads, depth)
        finally:
            self._free.release()

    def _parted(self, loads: list[KeyLoad], depth: int) -> tuple[list[KeyLoad], list[KeyLoad]]:
        """The loads of which the tier at `depth` may have the records, and those of which it is
        known without I/O that it has not; none of the latter where there is no tier below."""
        tier = self._write_outs[depth].tier
        if not tier.knows_keys or depth + 1 == len(self._write_outs):
            return loads, []
        there = tier.contains_many([load.key for load in loads])
        pairs = list(zip(loads, there, strict=True))
        return (
            [load for load, is_there in pairs if is_there is not False],
            [load for load, is_there in pairs if is_there is False],
        )

    def _ask(self, loads: list[KeyLoad], depth: int) -> list[KeyLoad]:
        """Ask one tier; returns the loads whose records it did not bring."""
        if not loads:
            return []
        tier = self._write_outs[depth].tier
        try:
            fetches = tier.get_many([load.key for load in loads])
        except Exception:  # a fault in a tier is a miss, and those who wait must go on
            logger.exception("a tier failed to read", extra={"tier": tier.name})
            fetches = [Fetch(FetchOutcome.ERROR)] * len(loads)
        rest = []
        for load, fetch in zip(loads, fetches, strict=True):
            if fetch.record is None:
                load.missed(fetch.outcome)
                rest.append(load)
            else:
                self._on_found(load, fetch, fetch.record, depth)
        return rest


def _result_of(below: Future[list[KeyLoad]], *, otherwise: list[KeyLoad]) -> list[KeyLoad]:
    try:
        return below.result()
    except CancelledError:  # this was closed before it began
        return otherwise
