"""Writes to Redis that carry the epoch of the stream's owner, and are refused where it is old.

The check and the write are one script, so that no other server can come in between.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from onlooker.cache_store.key import SegmentKey, StreamKey

FENCED = "FENCED"
"""The first word of the error with which a write of an old epoch is refused."""

MAX_STREAMS = 100_000
"""Streams whose epochs are remembered; those that were claimed last."""

CHECK_EPOCH = """
local newest = redis.call('HGET', KEYS[1], 'epoch')
if newest and tonumber(newest) > tonumber(ARGV[1]) then
    return redis.error_reply('FENCED another server owns the stream')
end
"""
"""The beginning of every script that writes: its first key is the fence, and its first argument the
epoch of the writer."""

_PUT = f"""{CHECK_EPOCH}
for i = 3, #KEYS do
    if ARGV[2] == '' then redis.call('SET', KEYS[i], ARGV[2 * i - 3])
    else redis.call('SET', KEYS[i], ARGV[2 * i - 3], 'EX', ARGV[2]) end
    redis.call('SADD', KEYS[2], ARGV[2 * i - 2])
end
if ARGV[2] ~= '' then redis.call('EXPIRE', KEYS[2], ARGV[2]) end
return #KEYS - 2
"""

_DELETE = f"""{CHECK_EPOCH}
local deleted = 0
for i = 3, #KEYS do
    deleted = deleted + redis.call('UNLINK', KEYS[i])
    redis.call('SREM', KEYS[2], ARGV[i - 1])
end
return deleted
"""

_NUM_KEYS_BEFORE = 2
"""The fence and the set of members come before the records."""


def fence_name(namespace: str, stream: str) -> str:
    """The key of the fence of ``tenant/stream``."""
    return f"{namespace}:fence:{stream}"


class Fences:
    """The epochs under which this process may write, by stream. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epochs: OrderedDict[str, int] = OrderedDict()

    def own(self, stream: str, epoch: int) -> None:
        """Write for ``tenant/stream`` under this epoch from now on."""
        with self._lock:
            self._epochs[stream] = epoch
            self._epochs.move_to_end(stream)
            while len(self._epochs) > MAX_STREAMS:
                self._epochs.popitem(last=False)

    def epoch(self, key: SegmentKey | StreamKey) -> int | None:
        """The epoch under which a stream, or a segment of it, is written; None where the stream has
        no owner, as without a fleet."""
        with self._lock:
            return self._epochs.get(f"{key.tenant}/{key.stream}")


def put(
    fence: str,
    members: str,
    records: Sequence[tuple[str, memoryview, str]],
    *,
    epoch: int,
    ttl_s: int | None,
) -> tuple[object, ...]:
    """A command that writes records of one stream, each given as (name, value, text of its key),
    and adds them to the stream's set `members`. Replies with their number, or refuses all."""
    names = [name for name, _, _ in records]
    values = [part for _, value, text in records for part in (value, text)]
    expiry = "" if ttl_s is None else ttl_s
    return ("EVAL", _PUT, _NUM_KEYS_BEFORE + len(names), fence, members, *names,
            epoch, expiry, *values)  # fmt: skip


def delete(
    fence: str, members: str, records: Sequence[tuple[str, str]], *, epoch: int
) -> tuple[object, ...]:
    """A command that deletes records of one stream, each given as (name, text of its key), and
    takes them out of the stream's set. Replies with how many there were, or refuses all."""
    names, texts = [name for name, _ in records], [text for _, text in records]
    return ("EVAL", _DELETE, _NUM_KEYS_BEFORE + len(names), fence, members, *names, epoch, *texts)
