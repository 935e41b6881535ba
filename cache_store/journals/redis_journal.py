"""`RedisJournal`: the frame journal in the Redis that the servers of a fleet share.

    <namespace>:journal:<stream>     a Redis stream: field ``e`` of each entry is a frame

Frames survive the loss of the server that took them: whoever opens the stream next finds them. All
changes of a call are one round trip, and those of one stream are made in one step that compares the
writer's epoch with the stream's fence (`cache_store.fence`). Positions are the ids that Redis gives
by its clock, so that they grow also where Redis has come back empty, or another server took over.
"""

import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Collection, Sequence

from onlooker.cache_store.fence import FENCED, fence_name
from onlooker.cache_store.journal import (
    Change,
    DurableMark,
    JournalReceipt,
    JournalStats,
    JournalUnreachable,
    NewEntry,
    check_name,
    touched,
)
from onlooker.cache_store.journal_entry import (
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    JournalEntry,
    pack_frame,
    unpack_frame,
)
from onlooker.cache_store.tiers.redis_link import Command, RedisLink, Reply
from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import StreamId, full_name

logger = logging.getLogger(__name__)

FIELD = b"e"
"""The field of a Redis stream's entry that has the frame."""
_TICK_S = 1.0
_PAGE_ENTRIES = 64
"""How many frames one round trip of a replay asks for at most."""
_READ_BYTES = 8 << 20
"""Bytes of frames that are in memory at once while some are looked for."""
_MAX_DELETIONS = 10_000
"""Streams whose deletion waits for Redis; one more is given up, and its frames expire."""
_SEQUENCE_BITS = 64
_NOTHING = JournalReceipt(Guarantee.NONE, None)

# An empty epoch stands for a stream that has no owner.
_CHECK = """
if ARGV[1] ~= '' then
    local newest = redis.call('HGET', KEYS[1], 'epoch')
    if newest and tonumber(newest) > tonumber(ARGV[1]) then
        return redis.error_reply('FENCED another server owns the stream')
    end
end
"""
_APPEND = f"""{_CHECK}
local ids = {{}}
for i = 3, #ARGV do ids[i - 2] = redis.call('XADD', KEYS[2], '*', 'e', ARGV[i]) end
if ARGV[2] == '' then redis.call('PERSIST', KEYS[2])
else redis.call('EXPIRE', KEYS[2], ARGV[2]) end
return ids
"""
_TRIM = f"{_CHECK} return redis.call('XTRIM', KEYS[2], 'MINID', ARGV[2])"
# The empty stream stays for a while, so that no position is given twice.
_DROP = f"""{_CHECK}
redis.call('XTRIM', KEYS[2], 'MAXLEN', 0)
return redis.call('EXPIRE', KEYS[2], 10)
"""
_REMOVE = f"{_CHECK} return redis.call('XDEL', KEYS[2], unpack(ARGV, 2))"


class RedisJournal:
    """See `FrameJournal`.

    Args:
        max_bytes: limit for the frames of all streams of this server; those beyond it are taken
            without a guarantee. No frame is thrown out for a newer one.
        max_streams: how many streams of this server may have frames there at once.
        ttl_s: after how long without a new frame a stream's frames expire; None means never.
        wait_replicas: how many replicas of Redis are to have a frame before it is acknowledged.
        wait_s: how long they are waited for; shorter than the time limit of `link`.
    """

    is_shared = True

    def __init__(
        self,
        link: RedisLink,
        *,
        namespace: str,
        max_bytes: int,
        max_streams: int,
        ttl_s: int | None,
        wait_replicas: int,
        wait_s: float,
    ) -> None:
        self._link, self._namespace, self._ttl_s = link, namespace, ttl_s
        self._max_bytes, self._max_streams = max_bytes, max_streams
        self._wait_replicas, self._wait_ms = wait_replicas, max(1, round(wait_s * 1000))
        self._lock, self._deletion_lock = threading.Lock(), threading.Lock()
        self._held = dict[str, OrderedDict[int, int]]()
        """Bytes of frames by stream and position, as far as this server has seen them."""
        self._num_bytes = 0
        self._counts = Counter[str]()
        self._deleting = dict[str, int | None]()
        """Streams that are yet to be deleted, with the epoch of their deletion."""
        self._stopping = threading.Event()
        self._ticker = threading.Thread(target=self._run, name="journal-tick", daemon=True)

    @property
    def guarantee(self) -> Guarantee:
        if not self._link.may_add:
            return Guarantee.NONE
        return Guarantee.REPLICATED if self._wait_replicas else Guarantee.SERVER

    def start(self) -> None:
        """Start to do `tick` every second."""
        self._ticker.start()

    def write(self, changes: Sequence[Change]) -> list[JournalReceipt]:
        for change in changes:
            check_name(change.stream)
        receipts = [_NOTHING] * len(changes)
        appends = self._by_writer(changes)
        num_frames = sum(not _is_look(changes[one]) for all_ in appends.values() for one in all_)
        if appends and self._link.held_off() is not None:
            self._count("errors", num_frames)
            appends = {}
        marks = [change for change in changes if isinstance(change, DurableMark)]
        commands = [self._append_command(changes, *one) for one in appends.items()]
        commands += [self._mark_command(mark) for mark in marks]
        if not commands:
            return receipts
        if appends and self._wait_replicas:
            commands.append(("WAIT", self._wait_replicas, self._wait_ms))
        replies = self._link.add(commands) if appends else self._link.send(commands)
        with self._lock:
            if replies is None:
                self._counts["errors"] += num_frames if appends else 0
                return receipts
            guarantee = self._reached(replies[-1])
            for places, reply in zip(appends.values(), replies, strict=False):
                self._note_written(changes, places, reply, guarantee, receipts)
            for mark, reply in zip(marks, replies[len(appends) :], strict=False):
                self._note_marked(mark, reply)
        return receipts

    def replay(
        self, stream: str, *, after: int = -1, max_bytes: int | None = None
    ) -> list[JournalEntry]:
        entries: list[JournalEntry] = []
        num_bytes, start = 0, "-" if after < 0 else f"({_id_of(after)}"
        while True:
            count = _PAGE_ENTRIES if max_bytes is None else min(_PAGE_ENTRIES, 16)
            rows = self._ask(("XRANGE", self._name(stream), start, "+", "COUNT", count))
            for row_id, fields in rows:
                position = _position_of(row_id)
                start = f"({_id_of(position)}"
                data = fields.get(FIELD, b"")
                with self._lock:
                    self._note_held(stream, position, len(data))
                entry = unpack_frame(data, position=position)
                if entry is None:
                    self._count("damaged")
                    continue
                entries.append(entry)
                num_bytes += len(entry.payload)
                if max_bytes is not None and num_bytes > max_bytes:
                    return entries
            if len(rows) < count:
                return entries

    def newest_s(self, stream: str) -> float | None:
        if stream in self._deleting:
            self._delete_one(stream)
            if stream in self._deleting:
                raise JournalUnreachable("what was deleted of the stream is still there")
        rows = self._ask(("XREVRANGE", self._name(stream), "+", "-", "COUNT", 1))
        for row_id, fields in rows:
            data, position = fields.get(FIELD, b""), _position_of(row_id)
            with self._lock:
                self._note_held(stream, position, len(data))
            entry = unpack_frame(data, position=position)
            return None if entry is None else entry.capture_s
        return None

    def streams(self) -> list[str]:
        with self._lock:
            return sorted(self._held)

    def delete(self, stream: str, *, epoch: int | None = None) -> None:
        with self._lock:
            self._let_go(stream)
        with self._deletion_lock:
            if len(self._deleting) >= _MAX_DELETIONS:
                logger.warning("too many deletions wait for Redis; a stream's frames expire later")
                return
            self._deleting[stream] = epoch
        self._delete_one(stream)

    def forget(
        self,
        stream: str,
        start_s: float,
        end_s: float,
        sequences: Collection[int] = (),
        *,
        epoch: int | None = None,
    ) -> tuple[int, int]:
        found: list[tuple[int, int, float, int]] = []
        after = -1
        while part := self.replay(stream, after=after, max_bytes=_READ_BYTES):
            after = part[-1].position
            found += [
                (one.position, one.sequence, one.capture_s, HEADER_BYTES + len(one.payload))
                for one in part
            ]
        gone = touched(((one[1], one[2]) for one in found), start_s, end_s, sequences)
        leaving = [one for one in found if one[1] in gone]
        for start in range(0, len(leaving), _PAGE_ENTRIES):
            positions = [one[0] for one in leaving[start : start + _PAGE_ENTRIES]]
            ids = [_id_of(position) for position in positions]
            replies = self._link.send([self._script(_REMOVE, stream, epoch, *ids)])
            if replies is None or isinstance(replies[0], Exception):
                raise JournalUnreachable("Redis did not delete all of it")
            with self._lock:
                for position in positions:
                    self._drop(stream, position)
        return len(leaving), sum(one[3] for one in leaving)

    def tick(self) -> None:
        """Try again to delete what could not be deleted."""
        for stream in list(self._deleting):
            self._delete_one(stream)

    def stats(self) -> JournalStats:
        with self._lock:
            return JournalStats(
                appended=self._counts["appended"],
                refused=self._counts["refused"],
                errors=self._counts["errors"],
                fenced=self._counts["fenced"],
                marked=self._counts["marked"],
                syncs=0,
                damaged=self._counts["damaged"],
                num_streams=len(self._held),
                num_bytes=self._num_bytes,
            )

    def close(self) -> None:
        self._stopping.set()
        if self._ticker.is_alive():
            self._ticker.join()
        self.tick()
        self._link.close()

    # ---- one round trip ----

    def _by_writer(self, changes: Sequence[Change]) -> dict[tuple[str, int | None], list[int]]:
        """The places of the frames for which there is room, by stream and epoch."""
        found: dict[tuple[str, int | None], list[int]] = {}
        with self._lock:
            streams, num_bytes = set(self._held), self._num_bytes
            for place, change in enumerate(changes):
                if isinstance(change, DurableMark):
                    continue
                is_known = change.stream in streams
                has_room = (
                    num_bytes + change.num_bytes <= self._max_bytes
                    and (is_known or len(streams) < self._max_streams)
                    and len(change.payload) <= MAX_PAYLOAD_BYTES
                )
                if has_room and (is_known or not change.is_look):
                    found.setdefault((change.stream, change.epoch), []).append(place)
                    streams.add(change.stream)
                    num_bytes += change.num_bytes
                elif not has_room and not change.is_look:
                    self._counts["refused"] += 1
        return found

    def _append_command(
        self, changes: Sequence[Change], writer: tuple[str, int | None], places: Sequence[int]
    ) -> Command:
        stream, epoch = writer
        expiry = "" if self._ttl_s is None else self._ttl_s
        packed = [_packed(changes[place]) for place in places]
        return self._script(_APPEND, stream, epoch, expiry, *packed)

    def _script(self, script: str, stream: str, epoch: int | None, *arguments: object) -> Command:
        fence = fence_name(self._namespace, full_name(StreamId(stream)))
        written_in = "" if epoch is None else epoch
        return ("EVAL", script, 2, fence, self._name(stream), written_in, *arguments)

    def _reached(self, num_replicas: Reply) -> Guarantee:
        """What frames survive that so many replicas have."""
        is_enough = isinstance(num_replicas, int) and num_replicas >= self._wait_replicas > 0
        return Guarantee.REPLICATED if is_enough else Guarantee.SERVER

    def _note_written(
        self,
        changes: Sequence[Change],
        places: Sequence[int],
        reply: Reply,
        guarantee: Guarantee,
        receipts: list[JournalReceipt],
    ) -> None:
        frames = [place for place in places if not _is_look(changes[place])]
        if isinstance(reply, Exception) or len(reply) != len(places):
            is_fenced = str(reply).startswith(FENCED)
            self._counts["fenced" if is_fenced else "errors"] += len(frames)
            if not is_fenced:
                logger.warning("frames cannot be journaled", extra={"error": str(reply)})
            return
        for place, row_id in zip(places, reply, strict=True):
            position = _position_of(row_id)
            change = changes[place]
            assert isinstance(change, NewEntry)
            self._note_held(change.stream, position, change.num_bytes)
            if not change.is_look:
                receipts[place] = JournalReceipt(guarantee, position)
        self._counts["appended"] += len(frames)

    def _note_marked(self, mark: DurableMark, reply: Reply) -> None:
        if isinstance(reply, Exception):  # the next mark says the same and more
            return
        self._counts["marked"] += int(reply)
        for position in [one for one in self._held.get(mark.stream, ()) if one <= mark.position]:
            self._drop(mark.stream, position)

    def _mark_command(self, mark: DurableMark) -> Command:
        """Lets go of all up to the position; Redis is told the first id that is to stay."""
        return self._script(_TRIM, mark.stream, mark.epoch, _id_of(mark.position + 1))

    # ---- what is held; the lock is held ----

    def _note_held(self, stream: str, position: int, num_bytes: int) -> None:
        held = self._held.setdefault(stream, OrderedDict())
        if position not in held:
            held[position] = num_bytes
            self._num_bytes += num_bytes

    def _drop(self, stream: str, position: int) -> None:
        held = self._held.get(stream, OrderedDict())
        self._num_bytes -= held.pop(position, 0)
        if not held:
            self._held.pop(stream, None)

    def _let_go(self, stream: str) -> None:
        self._num_bytes -= sum(self._held.pop(stream, {}).values())

    # ---- other calls ----

    def _delete_one(self, stream: str) -> None:
        """Delete a stream, if Redis can be reached. Who has lost the stream leaves it alone: it is
        another server's."""
        with self._deletion_lock:  # none is made twice: the second might take newer frames
            if stream not in self._deleting:
                return
            replies = self._link.send([self._script(_DROP, stream, self._deleting[stream])])
            if replies is None:
                return
            reply = replies[0]
            if not isinstance(reply, Exception) or str(reply).startswith(FENCED):
                del self._deleting[stream]

    def _ask(self, command: Command) -> list[tuple[bytes, dict[bytes, bytes]]]:
        replies = self._link.send([command])
        if replies is None:
            raise JournalUnreachable("Redis does not answer")
        if isinstance(replies[0], Exception):
            raise JournalUnreachable(f"Redis refuses: {replies[0]}")
        return list(replies[0])

    def _count(self, name: str, number: int = 1) -> None:
        with self._lock:
            self._counts[name] += number

    def _name(self, stream: str) -> str:
        return f"{self._namespace}:journal:{stream}"

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_S):
            self.tick()


def _packed(change: Change) -> bytes:
    assert isinstance(change, NewEntry)
    return pack_frame(
        sequence=change.sequence,
        capture_s=change.capture_s,
        codec=change.codec,
        payload=change.payload,
        is_last=change.is_last,
        is_look=change.is_look,
    )


def _is_look(change: Change) -> bool:
    return isinstance(change, NewEntry) and change.is_look


def _position_of(row_id: bytes) -> int:
    """Redis' ``<ms>-<sequence>`` as one number."""
    ms, _, sequence = bytes(row_id).decode().partition("-")
    return int(ms) << _SEQUENCE_BITS | int(sequence)


def _id_of(position: int) -> str:
    return f"{position >> _SEQUENCE_BITS}-{position & (1 << _SEQUENCE_BITS) - 1}"
