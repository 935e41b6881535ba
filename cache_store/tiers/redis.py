"""Records in a Redis that several servers share, so that another replica can take a stream over.

    <namespace>:<key text>           string: the record
    <namespace>:members:<prefix>     set: which segments of a stream are there (see `RedisMembers`)
    <namespace>:marker               string: tells whether Redis has come back empty (`RedisWatch`)

Redis may lose any of these at any time (eviction, restart, expiry): a lost record is a miss, and a
lost set is made again by the next listing. Only records are believed, and only after their
checksums were found right.
"""

import threading
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace

from redis.exceptions import OutOfMemoryError

from onlooker.cache_store import fence
from onlooker.cache_store.counters import TierCounters
from onlooker.cache_store.envelope import (
    PREFIX_BYTES,
    EncodedRecord,
    head_bytes_needed,
    seal,
    unseal,
    unseal_head,
)
from onlooker.cache_store.errors import DeletionRefused, RecordCorrupt, RecordForeign
from onlooker.cache_store.fence import FENCED, Fences
from onlooker.cache_store.head import SegmentHead
from onlooker.cache_store.key import SegmentKey, parse_key
from onlooker.cache_store.tier import MISS, Fetch, FetchOutcome, PutOutcome, TierStats
from onlooker.cache_store.tiers.redis_link import Command, RedisLink, Reply
from onlooker.cache_store.tiers.redis_members import RedisMembers
from onlooker.cache_store.tiers.redis_watch import RedisWatch

_FIRST_PROBE_BYTES = 4096
_FIRST_RECORD_BYTES = 1 << 20
"""The size that a record is assumed to have until one was seen."""
_LIST_BATCH = 512
"""How many keys one round trip deletes, or reads the heads of."""
_WRONG_TYPE = "WRONGTYPE"
_FULL = "OOM"


class RedisTier:
    """See `StoreTier`. A call takes as many round trips as its batches need, each bounded in bytes.

    After the first failed round trip of a call the rest of it is not tried: a call blocks for about
    one time limit at most, and not at all while the circuit breaker is open.

    Args:
        namespace: the name of every key starts with it.
        ttl_s: after how long a record that was not written again expires; None means never.
        batch_bytes: how many bytes are aimed at for one round trip.
        batch_records: the most records in one round trip.
        list_timeout_s: limit for one listing, by `keys` or `scan`.
        check_s: how often `watch` looks whether Redis still has what was stored.
        fences: the epochs under which streams are written and deleted; those that it does not know
            are written as they are.
    """

    name = "redis"
    knows_keys = False

    def __init__(
        self,
        link: RedisLink,
        *,
        namespace: str,
        ttl_s: int | None,
        batch_bytes: int,
        batch_records: int,
        list_timeout_s: float,
        check_s: float,
        fences: Fences | None = None,
    ) -> None:
        self._link = link
        self._fences = fences or Fences()
        self.watch = RedisWatch(
            link, namespace=namespace, expires=ttl_s is not None, interval_s=check_s
        )
        self._namespace = namespace
        self._members = RedisMembers(link, namespace=namespace, ttl_s=ttl_s)
        self._ttl_s = ttl_s
        self._batch_bytes = batch_bytes
        self._batch_records = batch_records
        self._list_timeout_s = list_timeout_s
        self._record_bytes = _FIRST_RECORD_BYTES
        self._probe_bytes = _FIRST_PROBE_BYTES
        self._scratch = threading.local()
        self._counters = TierCounters()

    def get_many(self, keys: Sequence[SegmentKey]) -> list[Fetch]:
        fetches: list[Fetch] = []
        while len(fetches) < len(keys):
            fits = max(1, self._batch_bytes // self._record_bytes)
            batch = keys[len(fetches) : len(fetches) + min(fits, self._batch_records)]
            replies = self._link.send([("GET", self._name(key)) for key in batch])
            if replies is None:
                fetches += [Fetch(FetchOutcome.ERROR)] * (len(keys) - len(fetches))
                break
            fetches += [self._fetch(key, reply) for key, reply in zip(batch, replies, strict=True)]
        self._counters.add_fetches(fetches)
        damaged = [
            self._name(key)
            for key, fetch in zip(keys, fetches, strict=True)
            if fetch.outcome is FetchOutcome.CORRUPT
        ]
        if damaged:
            self._link.send([("UNLINK", *damaged)])
        return fetches

    def put_many(self, records: Sequence[EncodedRecord]) -> list[PutOutcome]:
        outcomes: list[PutOutcome] = []
        while len(outcomes) < len(records):
            if (held_by := self._link.held_off()) is not None:
                outcome = PutOutcome.REFUSED if held_by.code == _FULL else PutOutcome.ERROR
                outcomes += [outcome] * (len(records) - len(outcomes))
                break
            stored = self._put_batch(self._next_batch(records[len(outcomes) :]))
            if stored is None:
                outcomes += [PutOutcome.ERROR] * (len(records) - len(outcomes))
                break
            outcomes += stored
        self._counters.add_puts(outcomes, [record.payload.nbytes for record in records])
        return outcomes

    def delete_many(self, keys: Sequence[SegmentKey]) -> bool:
        num_refused = 0
        for start in range(0, len(keys), _LIST_BATCH):
            refused = self._delete_batch(keys[start : start + _LIST_BATCH])
            if refused is None:
                return False
            num_refused += refused
        if num_refused:
            raise DeletionRefused("another server owns the stream")
        return True

    def contains_many(self, keys: Sequence[SegmentKey]) -> list[bool | None]:
        found: list[bool | None] = []
        for start in range(0, len(keys), _LIST_BATCH):
            batch = keys[start : start + _LIST_BATCH]
            replies = self._link.send([("EXISTS", self._name(key)) for key in batch])
            found += [_is_there(reply) for reply in replies or [None] * len(batch)]
        return found

    def keys(self, prefix: str = "") -> list[SegmentKey] | None:
        return self._keys(prefix, self._link.deadline_s(self._list_timeout_s))

    def scan(
        self, prefix: str = "", *, skip: Container[SegmentKey] = ()
    ) -> Iterator[SegmentHead | None]:
        until_s = self._link.deadline_s(self._list_timeout_s)
        listed = self._keys(prefix, until_s)
        if listed is None:
            yield None
            return
        wanted = [key for key in listed if key not in skip]
        for start in range(0, len(wanted), _LIST_BATCH):
            batch = wanted[start : start + _LIST_BATCH]
            is_over = start > 0 and self._link.is_over(until_s)
            heads = None if is_over else self._read_heads(batch, self._probe_bytes)
            if heads is None:
                yield None
                return
            yield from heads

    def used_bytes(self) -> int:
        replies = self._link.send([("INFO", "memory")])
        used = replies[0].get("used_memory") if replies and isinstance(replies[0], dict) else 0
        return int(used or 0)

    def stats(self) -> TierStats:
        """Totals of this process. No server is asked: what a shared Redis holds, its own monitoring
        tells."""
        counted = self._counters.snapshot(num_records=0, used_bytes=0)
        return replace(counted, error_replies=self._link.num_troubles)

    def close(self) -> None:
        self.watch.close()
        self._link.close()

    # ---- records ----

    def _fetch(self, key: SegmentKey, reply: Reply) -> Fetch:
        if reply is None:
            return MISS
        if isinstance(reply, Exception):
            wrong_type = str(reply).startswith(_WRONG_TYPE)
            return Fetch(FetchOutcome.FOREIGN if wrong_type else FetchOutcome.ERROR)
        self._record_bytes = max(1, len(reply))
        try:
            return Fetch(FetchOutcome.HIT, unseal(reply, key))
        except RecordCorrupt:
            return Fetch(FetchOutcome.CORRUPT)
        except RecordForeign:
            return Fetch(FetchOutcome.FOREIGN)

    def _keys(self, prefix: str, until_s: float) -> list[SegmentKey] | None:
        texts = self._members.texts(prefix, until_s=until_s)
        if texts is None:
            return None
        keys = []
        for text in texts:
            try:
                keys.append(parse_key(text))
            except ValueError:
                self._counters.add(foreign=1)
        return sorted(keys)

    def _next_batch(self, records: Sequence[EncodedRecord]) -> Sequence[EncodedRecord]:
        num_bytes = 0
        for count, record in enumerate(records):
            num_bytes += record.payload.nbytes
            if count == self._batch_records or (count and num_bytes > self._batch_bytes):
                return records[:count]
        return records

    def _put_batch(self, batch: Sequence[EncodedRecord]) -> list[PutOutcome] | None:
        """Write a batch in one round trip; None when the server could not be reached."""
        keys = [record.key for record in batch]
        values = dict(zip(keys, self._values(batch), strict=True))
        free, fenced = self._by_owner(keys, [record.epoch for record in batch])
        commands = [self._set(key, values[key]) for key in free]
        adding = self._members.adding(free)
        for (prefix, epoch), owned in fenced.items():
            records = [(self._name(key), values[key], key.text) for key in owned]
            commands.append(
                fence.put(
                    self._fence(owned[0]),
                    self._members.name(prefix),
                    records,
                    epoch=epoch,
                    ttl_s=self._ttl_s,
                )
            )
        self.watch.ensure_looked()
        replies = self._link.add([*commands, *adding, self.watch.asking])
        if replies is None:
            return None
        self.watch.heard(replies.pop())
        if any(isinstance(reply, Exception) for reply in replies[len(commands) :]):
            # A set that lacks a record would hide it, so no set is better.
            self._members.drop(free)
        outcomes = {key: _put_outcome(reply) for key, reply in zip(free, replies, strict=False)}
        for owned, reply in zip(fenced.values(), replies[len(free) :], strict=False):
            outcomes.update(dict.fromkeys(owned, _put_outcome(reply)))
        return [outcomes[key] for key in keys]

    def _delete_batch(self, batch: Sequence[SegmentKey]) -> int | None:
        """Delete in one round trip; of how many streams that was refused, as others own them; None
        when not all could be reached."""
        free, fenced = self._by_owner(batch)
        commands: list[Command] = []
        if free:
            commands = [("UNLINK", *map(self._name, free)), *self._members.removing(free)]
        num_free = len(commands)
        for (prefix, epoch), owned in fenced.items():
            records = [(self._name(key), key.text) for key in owned]
            members = self._members.name(prefix)
            commands.append(fence.delete(self._fence(owned[0]), members, records, epoch=epoch))
        replies = self._link.send(commands)
        if replies is None:
            return None
        refused = [reply for reply in replies if isinstance(reply, Exception)]
        if not all(_is_fenced(reply) for reply in refused):
            return None
        deleted = [reply for reply in replies[num_free:] if not isinstance(reply, Exception)]
        self._counters.add(
            deleted=sum(map(int, [*replies[: bool(free)], *deleted])), fenced=len(refused)
        )
        self._members.drop_empty(batch)
        return len(refused)

    def _by_owner(
        self, keys: Sequence[SegmentKey], epochs: Sequence[int | None] | None = None
    ) -> tuple[list[SegmentKey], dict[tuple[str, int], list[SegmentKey]]]:
        """Those keys whose streams have no owner, and the others by stream and epoch. `epochs`: of
        records that were made under one; the others are written as of now."""
        free: list[SegmentKey] = []
        fenced: dict[tuple[str, int], list[SegmentKey]] = {}
        for key, epoch in zip(keys, epochs or [None] * len(keys), strict=True):
            epoch = self._fences.epoch(key) if epoch is None else epoch
            if epoch is None:
                free.append(key)
            else:
                fenced.setdefault((key.stream_prefix, epoch), []).append(key)
        return free, fenced

    def _set(self, key: SegmentKey, value: memoryview) -> Command:
        expiry: tuple[object, ...] = () if self._ttl_s is None else ("EX", self._ttl_s)
        return ("SET", self._name(key), value, *expiry)

    def _fence(self, key: SegmentKey) -> str:
        return fence.fence_name(self._namespace, f"{key.tenant}/{key.stream}")

    def _values(self, batch: Sequence[EncodedRecord]) -> list[memoryview]:
        """The binary forms, in a buffer that the next batch of this thread overwrites: touching
        fresh memory for each record costs more than sending it."""
        sealed = [seal(record) for record in batch]
        total = sum(len(head) + payload.nbytes for head, payload in sealed)
        if len(getattr(self._scratch, "buffer", b"")) < total:
            self._scratch.buffer = bytearray(total)
        view = memoryview(self._scratch.buffer)
        values, start = [], 0
        for head, payload in sealed:
            middle, end = start + len(head), start + len(head) + payload.nbytes
            view[start:middle] = head
            view[middle:end] = payload
            values.append(view[start:end])
            start = end
        return values

    def _read_heads(
        self, keys: Sequence[SegmentKey], probe_bytes: int
    ) -> list[SegmentHead | None] | None:
        commands: list[Command] = []
        for key in keys:
            commands.append(("GETRANGE", self._name(key), 0, probe_bytes - 1))
            commands.append(("STRLEN", self._name(key)))
        replies = self._link.send(commands)
        if replies is None:
            return None
        heads: list[SegmentHead | None] = []
        longer: dict[SegmentKey, int] = {}
        gone: list[SegmentKey] = []
        for key, start, size in zip(keys, replies[::2], replies[1::2], strict=True):
            if isinstance(start, Exception) or isinstance(size, Exception):
                self._counters.add(foreign=1)
                heads.append(None)
            elif not size:
                gone.append(key)
            else:
                self._read_head(key, start, size, heads, longer)
        if gone:
            self._link.send(self._members.removing(gone))
        if longer:
            self._probe_bytes = max(longer.values())
            if (more := self._read_heads(list(longer), self._probe_bytes)) is None:
                return None
            heads += more
        return heads

    def _read_head(
        self,
        key: SegmentKey,
        start: bytes,
        size: int,
        heads: list[SegmentHead | None],
        longer: dict[SegmentKey, int],
    ) -> None:
        try:
            needed = head_bytes_needed(start[:PREFIX_BYTES])
            if len(start) < needed <= size:
                longer[key] = needed
            else:
                heads.append(unseal_head(start, key, total_bytes=size))
        except RecordCorrupt:
            self._counters.add(corrupt=1)
            self._link.send([("UNLINK", self._name(key))])
            heads.append(None)
        except RecordForeign:
            self._counters.add(foreign=1)
            heads.append(None)

    def _name(self, key: SegmentKey) -> str:
        return f"{self._namespace}:{key.text}"


def _is_there(reply: Reply) -> bool | None:
    return None if reply is None or isinstance(reply, Exception) else reply == 1


def _put_outcome(reply: Reply) -> PutOutcome:
    if not isinstance(reply, Exception):
        return PutOutcome.STORED
    if _is_fenced(reply):
        return PutOutcome.FENCED
    return PutOutcome.REFUSED if isinstance(reply, OutOfMemoryError) else PutOutcome.ERROR


def _is_fenced(reply: Exception) -> bool:
    return str(reply).startswith(FENCED)
