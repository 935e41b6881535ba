"""Tells what is stored in which tier. Reads heads and names, never KV, and moves nothing."""

from collections.abc import Iterable, Sequence

from onlooker.cache_store.envelope import EncodedRecord
from onlooker.cache_store.head import SegmentHead
from onlooker.cache_store.key import SegmentKey, StreamKey
from onlooker.cache_store.lookup import StreamRows
from onlooker.cache_store.tiers.memory import MemoryTier
from onlooker.cache_store.write_out import WriteOut


class Catalogue:
    """Looks through RAM, the write queues and the lower tiers, in this order.

    A record moves downwards only, and is in the next place before it leaves the last. So a record
    that is stored all the while is never missed.
    """

    def __init__(self, memory: MemoryTier, write_outs: Sequence[WriteOut]) -> None:
        self._memory = memory
        self._write_outs = write_outs

    def find_waiting(self, keys: Iterable[SegmentKey]) -> dict[SegmentKey, EncodedRecord]:
        """The records of these keys that wait to be written, as far as there are any."""
        found = {}
        for key in keys:
            for write_out in self._write_outs:
                if (record := write_out.get(key)) is not None:
                    found[key] = record
                    break
        return found

    def rows(self, stream: StreamKey) -> StreamRows:
        """See `TieredStore.rows`."""
        heads: dict[SegmentKey, SegmentHead] = {}
        is_complete = True
        for head in self._memory.scan(stream.prefix):
            if head is not None:
                heads[head.key] = head
        for write_out in self._write_outs:
            for record in self.find_waiting(write_out.keys(stream.prefix)).values():
                heads.setdefault(record.key, record.head)
        for write_out in self._write_outs:
            for head in write_out.tier.scan(stream.prefix, skip=frozenset(heads)):
                if head is None:
                    is_complete = False
                else:
                    heads[head.key] = head
        return StreamRows(tuple(heads[key] for key in sorted(heads)), is_complete)

    def streams(self, prefix: str) -> tuple[list[StreamKey], bool]:
        """See `TieredStore.streams`."""
        found = {key.stream_key for key in self._memory.keys(prefix)}
        is_complete = True
        for write_out in self._write_outs:
            found.update(key.stream_key for key in write_out.keys(prefix))
        for write_out in self._write_outs:
            keys = write_out.tier.keys(prefix)
            is_complete = is_complete and keys is not None
            found.update(key.stream_key for key in keys or ())
        return sorted(found), is_complete
