"""What every place that keeps records must do, be it RAM, disk or Redis."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from onlooker.cache_store.envelope import EncodedRecord
from onlooker.cache_store.head import SegmentHead
from onlooker.cache_store.key import SegmentKey


class FetchOutcome(StrEnum):
    """What became of one key of a read. To the caller all but HIT are misses."""

    HIT = "hit"
    MISS = "miss"
    CORRUPT = "corrupt"
    """Damaged bytes stood there."""
    FOREIGN = "foreign"
    """Another segment's record stood there, or something that is no record of this format."""
    ERROR = "error"
    """The tier could not be read now; the record may still be there."""


class PutOutcome(StrEnum):
    """What became of one record of a write."""

    STORED = "stored"
    REFUSED = "refused"
    """There was no room: the record is over the budget, the disk is full, or Redis is out of
    memory. Trying again soon is pointless."""
    ERROR = "error"
    """The tier could not be written now; trying again later may help."""
    FENCED = "fenced"
    """Another server owns the stream: this one must not write for it any more."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """The result for one key; there is a `record` exactly when the outcome is HIT."""

    outcome: FetchOutcome
    record: EncodedRecord | None = None


MISS = Fetch(FetchOutcome.MISS)


@dataclass(frozen=True, slots=True)
class TierStats:
    """Totals since the tier was opened, and what it holds now."""

    hits: int = 0
    misses: int = 0
    corrupt: int = 0
    """Damaged records that were read. The caller sees a miss; `misses` does not count them."""
    foreign: int = 0
    """Records of something else that were read. The caller sees a miss; `misses` does not count
    them."""
    read_errors: int = 0
    """Keys that could not be read for now: unreachable, timed out, or an I/O error."""
    write_errors: int = 0
    """Keys that could not be written for now: unreachable, timed out, or an I/O error."""
    error_replies: int = 0
    """Replies of the server that it cannot do its work now: it is a replica, is full, is being
    started, does not know the password, and the like."""
    stored: int = 0
    refused: int = 0
    """Records for which there was no room."""
    fenced: int = 0
    """Records and deletions that were refused because another server owns their stream."""
    deleted: int = 0
    evicted: int = 0
    evicted_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    num_records: int = 0
    used_bytes: int = 0


class StoreTier(Protocol):
    """A store of records by key. Batched, blocking, safe to call from any thread.

    The caller is a `TieredStore`, from its reader, loader and writer threads at once. A tier:

    1. never raises for what a key or a record is, nor for trouble with its medium: one bad key
       never fails its batch, and each key's outcome says what happened to it;
    2. returns only records it has checked, byte by byte, to be those of the key asked for;
    3. has a record either wholly or not at all, whatever is killed when;
    4. replaces the record of a key that is put again;
    5. keeps within its budget by evicting, and counts all it does in `stats`;
    6. blocks for no longer than its own time limits.

    Results are in the order of the arguments. After `close` no other call is made.
    """

    name: str
    """``memory``, ``disk`` or ``redis``; also the label in statistics."""

    @property
    def knows_keys(self) -> bool:
        """Whether `contains_many` answers without asking the medium, and `get_many` does so for
        keys that are not there."""
        ...

    def get_many(self, keys: Sequence[SegmentKey]) -> list[Fetch]:
        """Read records. A damaged one is deleted, so that it is met only once."""
        ...

    def put_many(self, records: Sequence[EncodedRecord]) -> list[PutOutcome]:
        """Write records. STORED means that the record is as durable as this tier ever makes it."""
        ...

    def delete_many(self, keys: Sequence[SegmentKey]) -> bool:
        """Delete the records of these keys, where there are any. Returns False when the tier could
        not be reached for all of them.

        Raises:
            DeletionRefused: some are of a stream that another server owns by now, and stay, which
                no further try changes; the others are deleted.
        """
        ...

    def contains_many(self, keys: Sequence[SegmentKey]) -> list[bool | None]:
        """Whether each key has a record; None where the tier cannot tell, as it could not be
        reached. This does not count as a use of the record."""
        ...

    def keys(self, prefix: str = "") -> list[SegmentKey] | None:
        """The keys whose text starts with `prefix` (up to a ``/``), in key order; None when the
        tier could not be read."""
        ...

    def scan(
        self, prefix: str = "", *, skip: Container[SegmentKey] = ()
    ) -> Iterator[SegmentHead | None]:
        """The heads of `keys(prefix)` but for those in `skip`, without reading any KV.

        Yields None in place of heads that could not be read for now, are damaged or are foreign: a
        None means that there may be more than was found.
        """
        ...

    def used_bytes(self) -> int:
        """Bytes that the tier holds now. Redis says what its server uses, or 0 when it is away."""
        ...

    def stats(self) -> TierStats:
        """Totals since the tier was opened, and what it holds now."""
        ...

    def close(self) -> None:
        """Release threads, files and connections. Records stay where the medium outlives them."""
        ...
