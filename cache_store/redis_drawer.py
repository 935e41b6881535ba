"""`RedisDrawer`: documents of streams in the Redis that all servers of a fleet share.

    <namespace>:kept:<tenant>/<stream>     hash: name of a document -> content
    <namespace>:kept                       set: the streams of which something is kept

They have no time after which they end: a mask is wanted for as long as its stream may come back. A
write carries the epoch of the stream's owner, and is refused where Redis knows a newer one.
"""

import asyncio
from typing import Any

from redis.exceptions import RedisError, ResponseError

from onlooker.cache_store.fence import CHECK_EPOCH, FENCED, fence_name
from onlooker.cache_store.redis_client import open_client
from onlooker.core.drawer import Documents, DrawerAway, DrawerFailed, WriteRefused
from onlooker.core.ids import StreamId, full_name, tenant_stream_id

FULL = "FULL"
"""The first word of the error with which one stream too many is refused."""

_ENTER = """
if redis.call('SISMEMBER', KEYS[3], ARGV[2]) == 0 then
    if redis.call('SCARD', KEYS[3]) >= tonumber(ARGV[3]) then
        return redis.error_reply('FULL so many streams are kept of already')
    end
    redis.call('SADD', KEYS[3], ARGV[2])
end
"""

_WRITE = f"""{CHECK_EPOCH}{_ENTER}
for i = 4, #ARGV, 2 do
    if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[2], ARGV[i])
    else redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
end
return 1
"""

_EXCHANGE = f"""{CHECK_EPOCH}
local kept = redis.call('HGET', KEYS[2], ARGV[4]) or ''
if kept == ARGV[6] then return 1 end
if kept ~= ARGV[5] then return 0 end
{_ENTER}
if ARGV[6] == '' then redis.call('HDEL', KEYS[2], ARGV[4])
else redis.call('HSET', KEYS[2], ARGV[4], ARGV[6]) end
return 1
"""

_CLEAR = f"""{CHECK_EPOCH}
redis.call('SREM', KEYS[3], ARGV[2])
return redis.call('UNLINK', KEYS[2])
"""

_SCAN_COUNT = 1000


class RedisDrawer:
    """See `onlooker.core.drawer.StreamDrawer`.

    Args:
        max_streams: streams of which something is kept; further ones are refused.
        timeout_s: limit for each call.
    """

    def __init__(
        self, redis_url: str, *, namespace: str, max_streams: int, timeout_s: float
    ) -> None:
        self._client = open_client(redis_url, timeout_s=timeout_s)
        self._namespace, self._max_streams = namespace, max_streams
        self._timeout_s = timeout_s

    async def read(self, stream_id: StreamId) -> dict[str, bytes]:
        found = await self._limited(self._client.hgetall(self._key(full_name(stream_id))))
        return {name.decode(): bytes(content) for name, content in found.items()}

    async def write(self, stream_id: StreamId, documents: Documents, *, epoch: int) -> None:
        flat = [part for document in documents.items() for part in document]
        await self._run(_WRITE, stream_id, epoch, str(self._max_streams), *flat)

    async def exchange(
        self, stream_id: StreamId, name: str, *, before: bytes, after: bytes
    ) -> bool:
        limit = str(self._max_streams)
        return bool(await self._run(_EXCHANGE, stream_id, 0, limit, name, before, after))

    async def clear(self, stream_id: StreamId, *, epoch: int) -> None:
        await self._run(_CLEAR, stream_id, epoch)

    async def stream_ids(self) -> list[StreamId]:
        names: set[bytes] = set()
        cursor = 0
        while True:
            scan = self._client.sscan(self._index, cursor, count=_SCAN_COUNT)
            cursor, found = await self._limited(scan)
            names.update(found)
            if int(cursor) == 0:
                break
        parts = [name.decode().split("/") for name in names]
        return sorted(tenant_stream_id(*part) for part in parts if len(part) == 2)

    async def close(self) -> None:
        await self._client.aclose()

    async def _run(
        self, script: str, stream_id: StreamId, epoch: int, *arguments: str | bytes
    ) -> Any:
        name = full_name(stream_id)
        keys = (fence_name(self._namespace, name), self._key(name), self._index)
        call = self._client.eval(script, len(keys), *keys, str(epoch), name, *arguments)
        return await self._limited(call)

    async def _limited(self, call: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await call
        except ResponseError as error:
            if FENCED in str(error):
                raise WriteRefused("another server owns the stream") from error
            if FULL in str(error):
                raise DrawerFailed(
                    f"something is kept of {self._max_streams} streams, which is the limit "
                    "(setting streams.max_kept_streams): delete some that are not needed"
                ) from error
            raise DrawerAway(str(error)) from error
        except (RedisError, OSError, TimeoutError) as error:
            raise DrawerAway(str(error) or "no answer in time") from error

    @property
    def _index(self) -> str:
        return f"{self._namespace}:kept"

    def _key(self, name: str) -> str:
        return f"{self._namespace}:kept:{name}"
