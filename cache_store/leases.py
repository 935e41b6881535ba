"""Who owns a stream where several servers share a Redis.

    <namespace>:owner:<stream>     hash: epoch, server, url; expires with the lease. With the field
                                   `left` it is free: its last owner left it for another to go on
    <namespace>:fence:<stream>     hash: epoch, server; the newest lease that was ever granted

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
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from onlooker.cache_store.fence import fence_name

_ACQUIRE = """
local held = redis.call('HMGET', KEYS[1], 'epoch', 'server', 'url', 'left')
if held[1] and held[2] ~= ARGV[1] and held[1] ~= ARGV[5] and not held[4] then
    return {0, held[1], held[2], held[3], redis.call('PTTL', KEYS[1])}
end
local last = redis.call('HMGET', KEYS[2], 'epoch', 'server')
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local epoch = string.format("%.0f", math.max(tonumber(last[1] or "0") + 1, now))
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'epoch', epoch, 'server', ARGV[1], 'url', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('HSET', KEYS[2], 'epoch', epoch, 'server', ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return {1, epoch, last[2] or ''}
"""

_RENEW = """
local newest = redis.call('HGET', KEYS[2], 'epoch')
local held = redis.call('HGET', KEYS[1], 'epoch')
if (newest and newest ~= ARGV[5]) or (held and held ~= ARGV[5]) then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[5], 'server', ARGV[1], 'url', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('HSET', KEYS[2], 'epoch', ARGV[5], 'server', ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 1
"""

_RELEASE = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'left', '1')
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A server's right to a stream."""

    epoch: int
    """The number of this ownership; every later one of the same stream has a larger number."""
    is_handed_over: bool = False
    """Whether the last owner was another server. Then what this server kept of the stream by itself
    may differ from what is shared, and is not to be used."""


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
    """Whether the server has let go of the stream, for any other to go on with."""


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

    async def renew(self, claims: Sequence[tuple[str, int]]) -> list[bool]:
        """Renew leases, given as (stream, epoch); returns which of them are still this server's.

        Raises:
            LeasesUnreachable: it is not known.
        """
        ...

    async def elsewhere(self, stream: str) -> OwnedBy | None:
        """The right of another server to a stream, or the one that the last owner left; None where
        there is none, or it is this server's.

        Raises:
            LeasesUnreachable: it is not known.
        """
        ...

    async def release(self, stream: str, epoch: int, *, left_s: float = 0.0) -> None:
        """Let a stream go, so that any server may take it at once. The fence stays. `left_s`: for
        how many seconds it is told that the stream was left for another server.

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
    ) -> None:
        self._client: Redis = Redis.from_url(
            redis_url,
            protocol=2,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 1),
        )
        self._namespace, self._server, self._url = namespace, server, url
        self._lease_ms, self._fence_ms = round(lease_s * 1000), round(fence_s * 1000)
        self._timeout_s = timeout_s

    async def acquire(self, stream: str, *, instead_of: int = 0) -> Claim | OwnedBy:
        reply = await self._call(
            _ACQUIRE, stream, self._server, self._url, self._lease_ms, self._fence_ms, instead_of
        )
        if reply[0]:
            last = reply[2].decode()
            return Claim(int(reply[1]), is_handed_over=last not in ("", self._server))
        _, epoch, server, url, left_ms = reply
        return OwnedBy(server.decode(), url.decode(), int(epoch), max(0, left_ms) / 1000)

    async def renew(self, claims: Sequence[tuple[str, int]]) -> list[bool]:
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
            )
        return [bool(one) for one in await self._limited(pipeline.execute())]

    async def elsewhere(self, stream: str) -> OwnedBy | None:
        owner, _ = self._keys(stream)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hmget(owner, "epoch", "server", "url", "left")
        pipeline.pttl(owner)
        (epoch, server, url, left), left_ms = await self._limited(pipeline.execute())
        if epoch is None or server is None or (server.decode() == self._server and not left):
            return None
        left_s = max(0, left_ms) / 1000
        return OwnedBy(server.decode(), (url or b"").decode(), int(epoch), left_s, bool(left))

    async def release(self, stream: str, epoch: int, *, left_s: float = 0.0) -> None:
        await self._call(_RELEASE, stream, epoch, round(left_s * 1000))

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
