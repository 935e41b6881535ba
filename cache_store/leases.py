"""Who owns a stream where several servers share a Redis.

    <namespace>:owner:<stream>     hash: epoch, server, url; expires with the lease
    <namespace>:fence:<stream>     hash: epoch, server of the newest lease that was ever granted;
                                   open: until when the stream counts as open without an owner, in
                                   seconds of Redis' clock, so that another server goes on with it

A lease carries an *epoch*, a number that only grows. The fence outlives the lease: whatever is
written for a stream carries the writer's epoch, and Redis refuses it in the same step where the
fence has a newer one (`cache_store.fence`). A server that was cut off or paused can do no harm,
however late it comes back. Epochs are not counted but read off Redis' clock, so that they grow also
where Redis came back empty.

Leases as in Chubby (Burrows, OSDI 2006), whose sequencers are the fence's epochs.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from redis.exceptions import RedisError

from onlooker.cache_store.fence import fence_name
from onlooker.cache_store.redis_client import open_client

_ACQUIRE = """
local held = redis.call('HMGET', KEYS[1], 'epoch', 'server', 'url')
if held[1] and held[2] ~= ARGV[1] and held[1] ~= ARGV[5] then
    return {0, held[1], held[2], held[3], redis.call('PTTL', KEYS[1])}
end
local last = redis.call('HMGET', KEYS[2], 'epoch', 'server', 'open')
local time = redis.call('TIME')
local was_open = tonumber(last[3] or '0') > tonumber(time[1]) and 1 or 0
local now = time[1] * 1000000 + time[2]
local epoch = string.format("%.0f", math.max(tonumber(last[1] or "0") + 1, now))
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'epoch', epoch, 'server', ARGV[1], 'url', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('HSET', KEYS[2], 'epoch', epoch, 'server', ARGV[1], 'open', time[1] + ARGV[6])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return {1, epoch, last[2] or '', was_open}
"""

_RENEW = """
local newest = redis.call('HGET', KEYS[2], 'epoch')
local held = redis.call('HGET', KEYS[1], 'epoch')
if (newest and newest ~= ARGV[5]) or (held and held ~= ARGV[5]) then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[5], 'server', ARGV[1], 'url', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local open = redis.call('TIME')[1] + ARGV[6]
redis.call('HSET', KEYS[2], 'epoch', ARGV[5], 'server', ARGV[1], 'open', open)
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return newest and 1 or 2
"""

_RELEASE = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('HDEL', KEYS[2], 'open') end
return redis.call('DEL', KEYS[1])
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A server's right to a stream."""

    epoch: int
    """The number of this ownership; every later one of the same stream has a larger number."""
    is_handed_over: bool = False
    """Whether the last owner was another server. Then what this server kept of the stream by itself
    may differ from what is shared, and is not to be used."""
    was_open: bool = False
    """Whether the stream counted as open already: its last owner left it to whoever is asked next,
    or is gone."""


@dataclass(frozen=True, slots=True)
class OwnedBy:
    """Another server's right to a stream."""

    server: str
    url: str
    """Where that server is reached; empty where it does not say."""
    epoch: int
    left_s: float
    """Seconds until the lease ends, if it is not renewed."""
    is_left: bool = False
    """Whether the stream is open and nobody has it: its owner has let go of it for any other to go
    on with, or was silent for longer than its lease, or was started again."""


class Renewal(IntEnum):
    """What became of a lease that was to be renewed."""

    LOST = 0
    """Another server owns the stream."""
    RENEWED = 1
    RESTORED = 2
    """Renewed, by a store that knew nothing of the stream any more: it came back empty, or went
    back to an older state, and has lost what else was in it too."""


class LeasesUnreachable(Exception):
    """The store of leases did not answer in time, or refused; the message says why."""


class LeaseStore(Protocol):
    """The store of leases that all servers share. A stream is named ``tenant/stream``."""

    async def acquire(self, stream: str, *, instead_of: int = 0) -> Claim | OwnedBy:
        """Become the owner, unless another server is. `instead_of`: the epoch of a lease whose
        owner is known to be gone, and that need not be waited for.

        Raises:
            LeasesUnreachable: it is not known who owns the stream.
        """
        ...

    async def renew(self, claims: Sequence[tuple[str, int]]) -> list[Renewal]:
        """Renew leases, given as (stream, epoch); returns what became of each.

        Raises:
            LeasesUnreachable: it is not known.
        """
        ...

    async def elsewhere(self, stream: str) -> OwnedBy | None:
        """The right of another server to a stream, or one that is left; None where there is none.
        This server's own counts as left: it is for those that do not have the stream open.

        Raises:
            LeasesUnreachable: it is not known.
        """
        ...

    async def release(self, stream: str, epoch: int, *, is_left: bool = False) -> None:
        """Let a stream go, so that any server may take it at once. The fence stays. `is_left`: the
        stream counts as open for a while yet, for another server to go on with.

        Raises:
            LeasesUnreachable: the lease ends by itself, in its time.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class RedisLeases:
    """See `LeaseStore`.

    Args:
        server: this server's name, which no other server has. A server that was started again under
            its name gets its own streams back at once.
        url: where other servers, and clients, reach this one.
        lease_s: how long a lease lasts if it is not renewed.
        fence_s: how long a stream's newest epoch is remembered after the last renewal; longer than
            any segment lives.
        timeout_s: limit for each call.
        open_s: how long a stream that nobody owns any more counts as open, unless it was closed.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        namespace: str,
        server: str,
        url: str,
        lease_s: float,
        fence_s: float,
        timeout_s: float,
        open_s: float = 600.0,
    ) -> None:
        self._client = open_client(redis_url, timeout_s=timeout_s)
        self._namespace, self._server, self._url = namespace, server, url
        self._lease_ms, self._fence_ms = round(lease_s * 1000), round(fence_s * 1000)
        self._timeout_s, self._open_s = timeout_s, round(open_s)

    async def acquire(self, stream: str, *, instead_of: int = 0) -> Claim | OwnedBy:
        reply = await self._call(
            _ACQUIRE, stream, self._server, self._url, self._lease_ms, self._fence_ms, instead_of,
            self._open_s,
        )  # fmt: skip
        if reply[0]:
            last = reply[2].decode()
            return Claim(
                int(reply[1]),
                is_handed_over=last not in ("", self._server),
                was_open=bool(reply[3]),
            )
        _, epoch, server, url, left_ms = reply
        return OwnedBy(server.decode(), url.decode(), int(epoch), max(0, left_ms) / 1000)

    async def renew(self, claims: Sequence[tuple[str, int]]) -> list[Renewal]:
        pipeline = self._client.pipeline(transaction=False)
        for stream, epoch in claims:
            pipeline.eval(
                _RENEW,
                2,
                *self._keys(stream),
                self._server,
                self._url,
                str(self._lease_ms),
                str(self._fence_ms),
                str(epoch),
                str(self._open_s),
            )
        return [Renewal(one) for one in await self._limited(pipeline.execute())]

    async def elsewhere(self, stream: str) -> OwnedBy | None:
        owner, fence = self._keys(stream)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hmget(owner, "epoch", "server", "url")
        pipeline.pttl(owner)
        pipeline.hget(fence, "open")
        pipeline.time()
        (epoch, server, url), left_ms, until_s, time = await self._limited(pipeline.execute())
        if epoch is None or server is None:
            if until_s is None or (left_s := int(until_s) - time[0]) <= 0:
                return None
            return OwnedBy("", "", 0, float(left_s), is_left=True)
        name, left_s = server.decode(), max(0, left_ms) / 1000
        return OwnedBy(name, (url or b"").decode(), int(epoch), left_s, name == self._server)

    async def release(self, stream: str, epoch: int, *, is_left: bool = False) -> None:
        await self._call(_RELEASE, stream, epoch, int(is_left))

    async def close(self) -> None:
        await self._client.aclose()

    async def _call(self, script: str, stream: str, *arguments: object) -> Any:
        called = self._client.eval(script, 2, *self._keys(stream), *map(str, arguments))
        return await self._limited(called)

    async def _limited(self, call: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await call
        except (RedisError, OSError, TimeoutError) as error:
            raise LeasesUnreachable(str(error) or "no answer in time") from error

    def _keys(self, stream: str) -> tuple[str, str]:
        return f"{self._namespace}:owner:{stream}", fence_name(self._namespace, stream)
