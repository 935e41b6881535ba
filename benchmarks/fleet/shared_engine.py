"""The scripted engine of a fleet: what it has seen is in Redis, fenced as segments are."""

import pickle  # our own records, in a Redis of the benchmark's own
from collections.abc import Collection
from typing import Any

import redis
from redis.exceptions import ResponseError

from onlooker.cache_store.fence import fence_name
from onlooker.cache_store.leases import Claim
from onlooker.core.ids import StreamId, split_stream_id
from onlooker.core.media import Cover
from onlooker.engine.fake import ScriptedEngine, ScriptedStore
from onlooker.engine.interface import Remembered

PUT = """
local newest = redis.call('HGET', KEYS[1], 'epoch')
if newest and tonumber(newest) > tonumber(ARGV[1]) then
    return redis.error_reply('FENCED another server owns the stream')
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('RPUSH', KEYS[3], ARGV[1] .. ' ' .. now)
return 1
"""
"""Every write that is taken is noted with the writer's epoch and Redis' time in microseconds, which
epochs are read off too: so a write of an old epoch that was taken shows."""


def clips_name(namespace: str, stream: str) -> str:
    """The hash of a stream's clips, by clip index."""
    return f"{namespace}:scripted:{stream}"


def writes_name(namespace: str, stream: str) -> str:
    """The list of the writes for a stream that were taken."""
    return f"{namespace}:writes:{stream}"


class SharedStore(ScriptedStore):
    """A `ScriptedStore` that all servers of a fleet share. It blocks for a fraction of a
    millisecond."""

    def __init__(self, redis_url: str, namespace: str) -> None:
        super().__init__()
        self._redis: Any = redis.Redis.from_url(redis_url)
        self._namespace = namespace
        self._epochs: dict[StreamId, int] = {}
        self.num_refused = 0
        """Writes that were refused, as another server owns the stream."""

    def own(self, stream_id: StreamId, epoch: int) -> None:
        """Write for a stream under this epoch from now on."""
        self._epochs[stream_id] = epoch

    def put(self, stream_id: StreamId, clip_index: int, clip: object) -> None:
        stream = _name(stream_id)
        keys = (
            fence_name(self._namespace, stream),
            clips_name(self._namespace, stream),
            writes_name(self._namespace, stream),
        )
        epoch = self._epochs.get(stream_id, 0)
        try:
            self._redis.eval(PUT, 3, *keys, epoch, clip_index, pickle.dumps(clip))
        except ResponseError:
            self.num_refused += 1

    def write(self, *clip_indices: int) -> None:
        """All is written at once."""

    def cover(self, stream_id: StreamId, cover: Cover) -> None:
        found = self._redis.hget(self._hash(stream_id), str(cover.clip_index))
        if found is not None:
            clip = pickle.loads(found)  # noqa: S301 - see above
            self.put(stream_id, cover.clip_index, clip.covering(cover.until_s))

    def clips(self, stream_id: StreamId) -> dict[int, object]:  # type: ignore[override] # its records
        found = self._redis.hgetall(self._hash(stream_id))
        return {
            int(index): pickle.loads(clip)  # noqa: S301 - see above
            for index, clip in sorted(found.items(), key=lambda item: int(item[0]))
        }

    def forget_clips(self, stream_id: StreamId, clip_indices: Collection[int]) -> None:
        if clip_indices:
            self._redis.hdel(self._hash(stream_id), *map(str, clip_indices))

    def forget(self, stream_id: StreamId) -> None:
        self._redis.delete(self._hash(stream_id))

    def _hash(self, stream_id: StreamId) -> str:
        return clips_name(self._namespace, _name(stream_id))


class SharedEngine(ScriptedEngine):
    """A `ScriptedEngine` on a `SharedStore`."""

    def __init__(self, store: SharedStore) -> None:
        super().__init__(store=store)
        self._shared = store

    async def open_stream(self, stream_id: StreamId, claim: Claim | None = None) -> Remembered:
        if claim is not None:
            self._shared.own(stream_id, claim.epoch)
        return await super().open_stream(stream_id, claim)


def _name(stream_id: StreamId) -> str:
    return "/".join(split_stream_id(stream_id))
