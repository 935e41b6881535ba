"""A connection to Redis for what servers of a fleet tell each other, which must not wait long."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def open_client(redis_url: str, *, timeout_s: float) -> Redis:
    """A client that tries once more at once, since a connection that was idle may have gone.
    `timeout_s`: for connecting, and for each reply."""
    return Redis.from_url(
        redis_url,
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1),
    )
