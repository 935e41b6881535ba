"""Connections to Redis that follow an address: after a fail-over it leads to another server.

A demoted primary refuses writes, but keeps its connections and answers whoever only reads. So a
connection by which a write was refused is made anew, and every other once it is `MAX_AGE_S` old:
nobody goes on for longer with what a server says that is not the primary any more.
"""

from typing import Any
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from onlooker.core.clock import Clock, SystemClock

MAX_AGE_S = 10.0
"""A connection that is older is made anew when it is next used."""

_ONCE_MORE = (RedisConnectionError, RedisTimeoutError, ReadOnlyError)
"""After these a call is tried once more at once, by a connection that is made anew: one that was
idle may have gone, or lead to a server that is the primary no more."""

_CLOCK = SystemClock()


class _Ages:
    """When each connection of a pool is to be made anew."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_s: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    def is_over(self, connection: Any) -> bool:
        """Whether a connection that is about to be used has to be made anew before."""
        now_s = self._clock.now_s()
        until_s = self._until_s.get(connection)
        if until_s is not None and now_s < until_s:
            return False
        self._until_s[connection] = now_s + MAX_AGE_S
        return until_s is not None


def _renew(connection: Any) -> None:
    connection.disconnect()
    connection.connect()


class RenewingPool(redis.ConnectionPool):
    """A pool whose connections do not grow old."""

    def __init__(self, *args: Any, clock: Clock = _CLOCK, **options: Any) -> None:
        super().__init__(*args, **options)
        self._ages = _Ages(clock)

    def get_connection(self, *args: Any, **options: Any) -> Any:
        connection = super().get_connection(*args, **options)
        try:
            if self._ages.is_over(connection):
                _renew(connection)
        except BaseException:
            self.release(connection)
            raise
        return connection


class AsyncRenewingPool(redis.asyncio.ConnectionPool):
    """As `RenewingPool`, on an event loop."""

    def __init__(self, *args: Any, clock: Clock = _CLOCK, **options: Any) -> None:
        super().__init__(*args, **options)
        self._ages = _Ages(clock)

    async def ensure_connection(self, connection: Any) -> None:
        if self._ages.is_over(connection):
            await connection.disconnect()
        await super().ensure_connection(connection)


def open_client(redis_url: str, *, timeout_s: float, clock: Clock = _CLOCK) -> redis.asyncio.Redis:
    """A client for what servers of a fleet tell each other, which must not wait long. `timeout_s`:
    for connecting, and for each reply."""
    pool = AsyncRenewingPool.from_url(
        redis_url,
        clock=clock,
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=AsyncRetry(NoBackoff(), 1, supported_errors=_ONCE_MORE),
    )
    return redis.asyncio.Redis.from_pool(pool)


def open_blocking_client(redis_url: str, *, timeout_s: float, clock: Clock = _CLOCK) -> redis.Redis:
    """As `open_client`, for threads that may wait."""
    pool = RenewingPool.from_url(
        redis_url,
        clock=clock,
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1, supported_errors=_ONCE_MORE),
    )
    return redis.Redis.from_pool(pool)
