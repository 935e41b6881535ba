"""The answers of the tiered store to its callers."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from onlooker.cache_store.deleter import DeletionStats
from onlooker.cache_store.envelope import decode
from onlooker.cache_store.errors import RecordCorrupt
from onlooker.cache_store.head import SegmentHead
from onlooker.cache_store.key import SegmentKey
from onlooker.cache_store.loads import LoadResult
from onlooker.cache_store.record import SegmentRecord
from onlooker.cache_store.tier import FetchOutcome, TierStats
from onlooker.cache_store.write_out import QueueStats

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lookup:
    """One key's result."""

    key: SegmentKey
    outcome: FetchOutcome
    """HIT, or why there is no record: the worst outcome that any tier reported."""
    record: SegmentRecord | None = None
    tier: str | None = None
    """The tier that had it. It is ``memory`` also while the record waits to be written further
    down."""


def lookup(key: SegmentKey, result: LoadResult) -> Lookup:
    """The result for one key, with its KV decoded. A record that cannot be decoded is a miss."""
    encoded = result.fetch.record
    if encoded is None:
        return Lookup(key, result.fetch.outcome)
    try:
        return Lookup(key, result.fetch.outcome, decode(encoded), result.tier)
    except RecordCorrupt as error:
        logger.warning("a record with a right checksum is damaged", extra={"reason": error.message})
        return Lookup(key, FetchOutcome.CORRUPT)


class PutResult(StrEnum):
    """What the caller of `put` may rely on."""

    QUEUED = "queued"
    """It is being written to a tier that outlives the process; `on_durable` tells when it is."""
    NOT_DURABLE = "not_durable"
    """It can be read, but only from RAM: the write queues are full, or there is no lower tier.
    Slow down, or put it again later."""
    REFUSED = "refused"
    """It could not be kept at all: it is larger than the budgets, or its stream is deleted."""


@dataclass(frozen=True, slots=True)
class PutReceipt:
    """How a record was taken."""

    result: PutResult
    queued_for: tuple[str, ...]
    """The tiers it waits to be written to."""


@dataclass(frozen=True, slots=True)
class StreamRows:
    """The heads of a stream's segments."""

    rows: tuple[SegmentHead, ...]
    """In key order: by kind, then index."""
    is_complete: bool
    """False when some tier could not be read: there may be more."""


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Totals since the store was started, and what each tier and queue holds now."""

    tiers: Mapping[str, TierStats]
    queues: Mapping[str, QueueStats]
    hits: Mapping[str, int]
    """Keys found, by the tier that had them."""
    misses: int
    """Keys that were found nowhere, for whatever reason; the reasons are in `tiers`."""
    joined: int
    """Keys that were brought by a load that another reader had begun."""
    not_durable: int
    """Puts for which no lower tier had room in its queue."""
    refused: int
    """Puts that were not kept at all."""
    forgotten: int
    """Records lost to eviction: the last copy went and no tier below took it."""
    demoted: int
    """Records written further down as they were evicted."""
    deletions: DeletionStats
    """Of streams, from the lower tiers."""
    doubts: int
    """How often a lower tier may have lost what it had."""
    written_again: int
    """Records queued once more for a tier that may have lost them."""
    read_beside: int
    """Reads of one tier that went on while another tier was read for the same caller."""
    read_in_turn: int
    """Reads that had to wait for those of another tier, as too many went on."""
