"""What the servers that share a Redis say of themselves, each for a short time.

<namespace>:servers            set: the names of all that have said something
<namespace>:server:<name>      string: what one says; expires when nothing is heard any more

``server`` is the topic; on each, a server says one thing at a time.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from onlooker.cache_store.redis_client import open_client

MAX_SERVERS = 1000
"""So many names are asked for at most."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What one server said of itself."""

    server: str
    text: str
    age_s: float


class NoticesUnreachable(Exception):
    """Redis did not answer in time, or refused; the message says why."""


class NoticeBoard:
    """Where each server puts up a notice, and all read them.

    Args:
        server: this server's name, which no other server has.
        lasts_s: how long a notice stays that is not put up again.
        timeout_s: limit for each call.
        topic: what it is about; notices of another are not read.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        namespace: str,
        server: str,
        lasts_s: float,
        timeout_s: float,
        topic: str = "server",
    ) -> None:
        self._client = open_client(redis_url, timeout_s=timeout_s)
        self._namespace, self._server, self._topic = namespace, server, topic
        self._lasts_ms, self._timeout_s = round(lasts_s * 1000), timeout_s

    async def put_up(self, text: str) -> None:
        """Say something in place of what this server said before.

        Raises:
            NoticesUnreachable: what was said before stays, as long as it lasts.
        """
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.sadd(self._all, self._server)
            pipeline.set(self._key(self._server), text, px=self._lasts_ms)
            await self._limited(pipeline.execute())

    async def take_down(self) -> None:
        """Say nothing any more.

        Raises:
            NoticesUnreachable: what was said stays, as long as it lasts.
        """
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.srem(self._all, self._server)
            pipeline.delete(self._key(self._server))
            await self._limited(pipeline.execute())

    async def read(self) -> list[Notice]:
        """What all servers say, by name. Names of which nothing is heard any more are dropped.

        Raises:
            NoticesUnreachable: it is not known.
        """
        names = await self._limited(self._client.smembers(self._all))
        found = sorted(name.decode() for name in names)[:MAX_SERVERS]
        if not found:
            return []
        keys = [self._key(name) for name in found]
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.mget(keys)  # one command: each server reads what all of them say
            for key in keys:
                pipeline.pttl(key)
            texts, *left = await self._limited(pipeline.execute())
        notices, silent = [], []
        for name, text, left_ms in zip(found, texts, left, strict=True):
            if text is None:
                silent.append(name)
            else:
                notices.append(Notice(name, text.decode(), max(0, self._lasts_ms - left_ms) / 1000))
        if silent:
            await self._limited(self._client.srem(self._all, *silent))
        return notices

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    async def _limited(self, call: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await call
        except (RedisError, OSError, TimeoutError) as error:
            raise NoticesUnreachable(str(error) or "no answer in time") from error

    @property
    def _all(self) -> str:
        return f"{self._namespace}:{self._topic}s"

    def _key(self, server: str) -> str:
        return f"{self._namespace}:{self._topic}:{server}"
