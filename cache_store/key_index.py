"""A mapping by segment key that lists one stream without looking at the others."""

from typing import Generic, TypeVar

from onlooker.cache_store.key import SegmentKey

ValueT = TypeVar("ValueT")


class KeyIndex(Generic[ValueT]):
    """A dictionary grouped by stream. Not thread-safe."""

    def __init__(self) -> None:
        self._streams: dict[str, dict[SegmentKey, ValueT]] = {}
        self._count = 0

    def get(self, key: SegmentKey) -> ValueT | None:
        return self._streams.get(key.stream_prefix, {}).get(key)

    def set(self, key: SegmentKey, value: ValueT) -> None:
        stream = self._streams.setdefault(key.stream_prefix, {})
        self._count += key not in stream
        stream[key] = value

    def pop(self, key: SegmentKey) -> ValueT | None:
        prefix = key.stream_prefix
        stream = self._streams.get(prefix)
        if stream is None or key not in stream:
            return None
        value = stream.pop(key)
        self._count -= 1
        if not stream:
            del self._streams[prefix]
        return value

    def clear(self) -> None:
        self._streams.clear()
        self._count = 0

    def __contains__(self, key: SegmentKey) -> bool:
        return key in self._streams.get(key.stream_prefix, {})

    def __len__(self) -> int:
        return self._count

    def items(self) -> list[tuple[SegmentKey, ValueT]]:
        """All keys and values, in no particular order."""
        return [item for stream in self._streams.values() for item in stream.items()]

    def keys(self, prefix: str = "") -> list[SegmentKey]:
        """The keys whose text starts with `prefix`, in key order."""
        found: list[SegmentKey] = []
        for stream_prefix, stream in self._streams.items():
            if stream_prefix.startswith(prefix):
                found += stream
            elif prefix.startswith(stream_prefix):
                found += [key for key in stream if key.text.startswith(prefix)]
        found.sort()
        return found
