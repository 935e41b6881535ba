"""`StreamTables`: tables of streams in a fleet's Redis, with the room that each stream takes.

    <prefix>:<tenant>/<stream>:<table>    what is kept of one stream
    <prefix>:sizes, :counts               hashes: stream -> bytes, rows

An album and a diary are one each. Writes carry the epoch of the stream's owner, which the scripts
check (`onlooker.cache_store.fence`).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.exceptions import RedisError

from onlooker.cache_store.fence import fence_name
from onlooker.cache_store.redis_client import open_blocking_client
from onlooker.core.ids import StreamId, full_name


class StreamTables:
    """Calls raise what the client raises, but within `reached`.

    Args:
        what: the word behind the namespace in every key.
        timeout_s: limit for each call.
        unreachable: raised where Redis fails.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        namespace: str,
        what: str,
        timeout_s: float,
        unreachable: type[Exception],
    ) -> None:
        self.client = open_blocking_client(redis_url, timeout_s=timeout_s)
        self.prefix, self._namespace = f"{namespace}:{what}", namespace
        self._unreachable = unreachable
        self.num_rows = self.num_bytes = self.num_streams = 0
        """What is held by all streams together, as it was last told."""

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Raises `unreachable` where Redis fails."""
        try:
            yield
        except (RedisError, OSError) as error:
            raise self._unreachable(str(error)) from error

    def key(self, name: str, table: str) -> str:
        """The key of a stream's table; `name` is the stream's full name."""
        return f"{self.prefix}:{name}:{table}"

    @property
    def sizes_key(self) -> str:
        """The key of the bytes of all streams."""
        return f"{self.prefix}:sizes"

    @property
    def counts_key(self) -> str:
        """The key of the numbers of rows of all streams."""
        return f"{self.prefix}:counts"

    def sizes(self) -> dict[str, int]:
        """Bytes by the full name of a stream."""
        found: Any = self.client.hgetall(self.sizes_key)
        return {name.decode(): int(size) for name, size in found.items()}

    def take_stock(self) -> None:
        """Look at what is held; what Redis does not tell stays as it was."""
        try:
            with self.reached():
                sizes = self.sizes()
                counts: Any = self.client.hvals(self.counts_key)
                self.num_streams, self.num_bytes = len(sizes), sum(sizes.values())
                self.num_rows = sum(int(one) for one in counts)
        except self._unreachable:
            pass

    def newest_epoch(self, name: str) -> int:
        """What an owner would write with: rows are taken away for a budget, whoever owns the
        stream."""
        found: Any = self.client.hget(fence_name(self._namespace, name), "epoch")
        return int(found or 0)

    def run(
        self,
        script: str,
        keys: Sequence[str],
        name: str,
        epoch: int | None,
        *arguments: str | bytes,
    ) -> Any:
        """Run a script with the stream's fence before `keys`, and its epoch and name before
        `arguments`."""
        fenced = (fence_name(self._namespace, name), *keys)
        return self.client.eval(script, len(fenced), *fenced, str(epoch or 0), name, *arguments)

    def close(self) -> None:
        """Let go of the connections."""
        self.client.close()


def stream_name(stream: str) -> str:
    """The full name by which a stream's tables are found."""
    return full_name(StreamId(stream))


def score_of(time_s: float) -> str:
    """A time as the end of a span of a sorted set."""
    return repr(time_s) if math.isfinite(time_s) else ("+inf" if time_s > 0 else "-inf")
