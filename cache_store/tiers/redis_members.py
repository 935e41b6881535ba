"""Sets in Redis that tell which segments of a stream are there, so that a stream is listed quickly.

    <namespace>:members:<prefix>     set: key texts of one stream, and ``*`` once it is known to be
                                     complete; without that the stream's records are found by SCAN

Redis may lose a set at any time, and a set may name records that Redis has lost.
"""

from collections.abc import Sequence

from onlooker.cache_store.key import SegmentKey
from onlooker.cache_store.tiers.redis_link import Command, RedisLink

_COMPLETE = "*"
_SCAN_COUNT = 2000
"""How many names or members one round trip looks at."""
_ADD_BATCH = 512
"""How many members one command adds."""


class RedisMembers:
    """The sets of all streams under a namespace. Thread-safe.

    `adding` and `removing` return commands, so that the caller can send them in the same round trip
    as the records.
    """

    def __init__(self, link: RedisLink, *, namespace: str, ttl_s: int | None) -> None:
        self._link = link
        self._namespace = namespace
        self._ttl_s = ttl_s

    def adding(self, keys: Sequence[SegmentKey]) -> list[Command]:
        """Commands that add keys to the sets of their streams."""
        commands: list[Command] = []
        for prefix, texts in _by_stream(keys).items():
            commands.append(("SADD", self.name(prefix), *texts))
            if self._ttl_s is not None:
                commands.append(("EXPIRE", self.name(prefix), self._ttl_s))
        return commands

    def removing(self, keys: Sequence[SegmentKey]) -> list[Command]:
        """Commands that take keys out of the sets of their streams."""
        return [("SREM", self.name(prefix), *texts) for prefix, texts in _by_stream(keys).items()]

    def texts(self, prefix: str, *, until_s: float) -> list[str] | None:
        """The texts that start with `prefix`, which are those of keys and perhaps others; None when
        Redis cannot be reached in time, or not all are known by `until_s`."""
        if prefix.count("/") >= 4:
            return self._list_stream(prefix, until_s)
        return self._scan(prefix, until_s)

    def drop(self, keys: Sequence[SegmentKey]) -> None:
        """Delete the sets of these keys' streams, which are then made again by the next listing."""
        self._link.send([("UNLINK", *(self.name(prefix) for prefix in _by_stream(keys)))])

    def drop_empty(self, keys: Sequence[SegmentKey]) -> None:
        """Delete the sets of these keys' streams that hold no key any more."""
        prefixes = list(_by_stream(keys))
        replies = self._link.send([("SCARD", self.name(prefix)) for prefix in prefixes])
        for prefix, count in zip(prefixes, replies or (), strict=bool(replies)):
            if count == 1:
                # A member that another server adds right now goes with it. Then the stream has no
                # complete set, and is listed by SCAN.
                self._link.send([("UNLINK", self.name(prefix))])

    def name(self, stream_prefix: str) -> str:
        """The key of a stream's set."""
        return f"{self._namespace}:members:{stream_prefix}"

    def _list_stream(self, prefix: str, until_s: float) -> list[str] | None:
        stream_prefix = "/".join(prefix.split("/")[:4]) + "/"
        name = self.name(stream_prefix)
        members = self._link.scan_set(name, count=_SCAN_COUNT, until_s=until_s)
        if members is None:
            return None
        if _COMPLETE not in members:
            found = self._scan(stream_prefix, until_s)
            if found is None:
                return None
            self._complete(stream_prefix, found, until_s)
            members = {*members, *found}
        return [text for text in members if text != _COMPLETE and text.startswith(prefix)]

    def _complete(self, stream_prefix: str, texts: Sequence[str], until_s: float) -> None:
        """Make the set of a stream complete, as far as there is time. The mark goes in last, once
        all other members are in."""
        name = self.name(stream_prefix)
        members = [*texts, _COMPLETE] if texts else []
        for start in range(0, len(members), _ADD_BATCH):
            replies = self._link.send([("SADD", name, *members[start : start + _ADD_BATCH])])
            if replies is None or isinstance(replies[0], Exception) or self._link.is_over(until_s):
                return
        if members and self._ttl_s is not None:
            self._link.send([("EXPIRE", name, self._ttl_s)])

    def _scan(self, prefix: str, until_s: float) -> list[str] | None:
        start = f"{self._namespace}:"
        # No character of a key or namespace has a meaning in a pattern.
        names = self._link.scan_names(f"{start}{prefix}*", count=_SCAN_COUNT, until_s=until_s)
        if names is None:
            return None
        texts = [name.removeprefix(start) for name in names]
        return [text for text in texts if "/" in text and not text.startswith("members:")]


def _by_stream(keys: Sequence[SegmentKey]) -> dict[str, list[str]]:
    streams: dict[str, list[str]] = {}
    for key in keys:
        streams.setdefault(key.stream_prefix, []).append(key.text)
    return streams
