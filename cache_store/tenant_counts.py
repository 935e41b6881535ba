"""What tenants have and did on all servers of a fleet together, in their Redis.

    <namespace>:tenant:<tenant>:<kind>     sorted set: what a tenant has of a kind (streams,
                                           watches), each with the time at which it is not counted
                                           any more unless its server says again that it is there
    <namespace>:tenant:<tenant>:asked      list: when the questions of the last span were asked
    <namespace>:tenant:<tenant>:usage      hash: totals by name, and ``since``
    <namespace>:tenants                    set: the tenants that have totals
    <namespace>:usage_mark:<server>        string: the last batch of totals that a server added

Times are those of Redis' own clock. A server that dies leaves nothing behind that counts for longer
than a lease. The list is how the package `limits` keeps a moving window; that was left out since it
takes its times from the servers' clocks, does not say when there is room again, and has no limit of
time for a call.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from onlooker.cache_store.redis_client import open_client

Totals = Mapping[str, int]
"""Whole numbers by name."""

KEPT_S = 400 * 86_400
"""Totals of a tenant that does nothing for so long are forgotten."""

MARK_S = 86_400
"""How long a batch may be tried again."""

HELD_AT_ONCE = 500
"""Names that one command says again."""

_ENTER = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
    local count = redis.call('ZCARD', KEYS[1])
    if count >= tonumber(ARGV[2]) then return 0 end
end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""

_HOLD = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for index = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[index]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""

_ASK = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local limit, span = tonumber(ARGV[1]), tonumber(ARGV[2])
local first = redis.call('LINDEX', KEYS[1], 0)
while first and tonumber(first) + span <= now do
    redis.call('LPOP', KEYS[1])
    first = redis.call('LINDEX', KEYS[1], 0)
end
local excess = redis.call('LLEN', KEYS[1]) - limit
if excess >= 0 then
    return math.max(1, tonumber(redis.call('LINDEX', KEYS[1], excess)) + span - now)
end
redis.call('RPUSH', KEYS[1], string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], span)
return 0
"""

_ADD = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return 0 end
local time = redis.call('TIME')[1]
local index = 4
for place = 3, #KEYS do
    local key, count = KEYS[place], tonumber(ARGV[index + 1])
    redis.call('SADD', KEYS[2], ARGV[index])
    redis.call('HSETNX', key, 'since', time)
    for field = 1, count do
        redis.call('HINCRBY', key, ARGV[index + 2 * field], ARGV[index + 2 * field + 1])
    end
    redis.call('EXPIRE', key, ARGV[3])
    index = index + 2 + 2 * count
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""


class CountsUnreachable(Exception):
    """Redis did not answer in time, or refused; the message says why."""


@dataclass(frozen=True, slots=True)
class UsageBatch:
    """Totals that one server adds at a time."""

    mark: str
    """A text that no other batch of this server has: a batch that was added is not added twice,
    however often it is tried."""
    totals: Mapping[str, Totals]
    """By tenant."""


class RedisTenantCounts:
    """Counts of one server of a fleet.

    Args:
        server: this server's name, which no other server has.
        lasts_s: how long something is counted of which nothing is heard any more.
        timeout_s: limit for each call.
    """

    def __init__(
        self, redis_url: str, *, namespace: str, server: str, lasts_s: float, timeout_s: float
    ) -> None:
        self._client = open_client(redis_url, timeout_s=timeout_s)
        self._namespace, self._server = namespace, server
        self._lasts_ms, self._timeout_s = round(lasts_s * 1000), timeout_s

    async def enter(self, tenant: str, kind: str, name: str, limit: int) -> bool:
        """Count something of a tenant, unless that would be more than `limit`; returns whether it
        is counted. What is counted already stays so.

        Raises:
            CountsUnreachable: it may be counted or not.
        """
        key = self._key(tenant, kind)
        return bool(await self._limited(self._eval(_ENTER, [key], name, limit, self._lasts_ms)))

    async def leave(self, tenant: str, kind: str, names: Sequence[str]) -> None:
        """Count something no more.

        Raises:
            CountsUnreachable: it is counted for a while yet.
        """
        await self._limited(self._client.zrem(self._key(tenant, kind), *names))

    async def hold(self, held: Mapping[tuple[str, str], Sequence[str]]) -> None:
        """Say again what this server has, by tenant and kind.

        Raises:
            CountsUnreachable: some of it may be counted no more before long.
        """
        async with self._client.pipeline(transaction=False) as pipeline:
            for (tenant, kind), names in held.items():
                for start in range(0, len(names), HELD_AT_ONCE):
                    part = names[start : start + HELD_AT_ONCE]
                    pipeline.eval(_HOLD, 1, self._key(tenant, kind), str(self._lasts_ms), *part)
            await self._limited(pipeline.execute())

    async def ask(self, tenant: str, *, limit: int, span_s: float) -> float:
        """Count a question of a tenant, unless it has asked `limit` in the last `span_s` seconds;
        returns the seconds until it may ask again, 0 where the question is counted.

        Raises:
            CountsUnreachable: it may be counted or not.
        """
        key, span_ms = self._key(tenant, "asked"), round(span_s * 1000)
        return float(await self._limited(self._eval(_ASK, [key], limit, span_ms))) / 1000

    async def add(self, batch: UsageBatch) -> None:
        """Add to tenants' totals, once.

        Raises:
            CountsUnreachable: they may be added or not; the same batch may be tried again.
        """
        keys = [f"{self._namespace}:usage_mark:{self._server}", self._tenants]
        arguments: list[object] = [batch.mark, MARK_S, KEPT_S]
        for tenant, totals in batch.totals.items():
            keys.append(self._key(tenant, "usage"))
            arguments += [tenant, len(totals)]
            for name, amount in totals.items():
                arguments += [name, amount]
        await self._limited(self._eval(_ADD, keys, *arguments))

    async def tenants(self) -> list[str]:
        """The tenants that have totals, by name.

        Raises:
            CountsUnreachable: it is not known.
        """
        return sorted(n.decode() for n in await self._limited(self._client.smembers(self._tenants)))

    async def totals(self, tenants: Sequence[str]) -> list[dict[str, int]]:
        """The totals of these tenants, with ``since``: when the first was added, in seconds since
        the Unix epoch; empty for a tenant that has none.

        Raises:
            CountsUnreachable: it is not known.
        """
        async with self._client.pipeline(transaction=False) as pipeline:
            for tenant in tenants:
                pipeline.hgetall(self._key(tenant, "usage"))
            replies = await self._limited(pipeline.execute())
        return [{name.decode(): int(amount) for name, amount in reply.items()} for reply in replies]

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    def _eval(self, script: str, keys: Sequence[str], *arguments: object) -> Any:
        return self._client.eval(script, len(keys), *keys, *map(str, arguments))

    async def _limited(self, call: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await call
        except (RedisError, OSError, TimeoutError) as error:
            raise CountsUnreachable(str(error) or "no answer in time") from error

    @property
    def _tenants(self) -> str:
        return f"{self._namespace}:tenants"

    def _key(self, tenant: str, kind: str) -> str:
        return f"{self._namespace}:tenant:{tenant}:{kind}"
