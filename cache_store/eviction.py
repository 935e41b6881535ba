"""Which records a full tier gives up first."""

from collections import OrderedDict
from collections.abc import Container
from random import Random
from typing import Protocol

from onlooker.cache_store.key import SegmentKey, SegmentKind, StreamKey


class EvictionPolicy(Protocol):
    """Remembers what a tier holds and chooses victims. Called under the tier's lock only."""

    def added(self, key: SegmentKey, num_bytes: int) -> None:
        """A record came in, or replaced another of its key."""
        ...

    def used(self, key: SegmentKey) -> None:
        """A record was read. Unknown keys are ignored."""
        ...

    def removed(self, key: SegmentKey) -> None:
        """A record is gone, by eviction or deletion. Unknown keys are ignored."""
        ...

    def victims(self, needed_bytes: int) -> list[SegmentKey]:
        """Records whose sizes sum to at least `needed_bytes`, or all records when they sum to less.
        The first to go comes first. Changes nothing: the tier calls `removed` for each."""
        ...


class Lru:
    """The record that was unused for longest goes first."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[SegmentKey, int] = OrderedDict()

    def added(self, key: SegmentKey, num_bytes: int) -> None:
        self._sizes[key] = num_bytes
        self._sizes.move_to_end(key)

    def used(self, key: SegmentKey) -> None:
        if key in self._sizes:
            self._sizes.move_to_end(key)

    def removed(self, key: SegmentKey) -> None:
        self._sizes.pop(key, None)

    def victims(self, needed_bytes: int) -> list[SegmentKey]:
        chosen: list[SegmentKey] = []
        for key, num_bytes in self._sizes.items():
            if needed_bytes <= 0:
                break
            chosen.append(key)
            needed_bytes -= num_bytes
        return chosen


_KIND_RANK = {
    SegmentKind.CLIP: 0,
    SegmentKind.COMPACTED: 0,
    SegmentKind.TEXT: 1,
    SegmentKind.SINK: 2,
}
"""Clips are given up before text (dialogue, notes), and text before sinks, since a sink opens every
context of its stream."""

_MAX_USES = 255

_SAMPLE_SIZE = 32
"""How many records a victim is chosen among where there are more. Redis found that 10 come close to
an exact choice."""

_MAX_TRIES = 4


class AgeAware:
    """Old clips that are rarely retrieved go first, then text, and sinks last.

    The age of a segment is how many segments of its kind its stream has made since. The victim is
    the one of the largest age / (1 + uses), so that retrievals make up for age. With more than
    `_SAMPLE_SIZE` records the choice is made among a sample, as in Redis, so that a victim costs
    the same however many records there are.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self._random = Random(seed)  # noqa: S311 - rejection: choosing victims is no secret
        self._sizes: dict[SegmentKey, int] = {}
        self._uses: dict[SegmentKey, int] = {}
        self._keys: list[SegmentKey] = []
        self._places: dict[SegmentKey, int] = {}
        self._newest: dict[tuple[StreamKey, SegmentKind], int] = {}
        self._counts: dict[tuple[StreamKey, SegmentKind], int] = {}

    def added(self, key: SegmentKey, num_bytes: int) -> None:
        line = (key.stream_key, key.kind)
        if key not in self._sizes:
            self._places[key] = len(self._keys)
            self._keys.append(key)
            self._uses[key] = 0
            self._counts[line] = self._counts.get(line, 0) + 1
        self._sizes[key] = num_bytes
        self._newest[line] = max(self._newest.get(line, 0), key.index)

    def used(self, key: SegmentKey) -> None:
        if key in self._sizes:
            self._uses[key] = min(_MAX_USES, self._uses[key] + 1)

    def removed(self, key: SegmentKey) -> None:
        if self._sizes.pop(key, None) is None:
            return
        del self._uses[key]
        place, last = self._places.pop(key), self._keys.pop()
        if last != key:
            self._keys[place] = last
            self._places[last] = place
        line = (key.stream_key, key.kind)
        self._counts[line] -= 1
        if not self._counts[line]:
            del self._counts[line], self._newest[line]

    def victims(self, needed_bytes: int) -> list[SegmentKey]:
        chosen: dict[SegmentKey, None] = {}
        while needed_bytes > 0 and (candidates := self._candidates(chosen)):
            victim = min(candidates, key=self._rank)
            chosen[victim] = None
            needed_bytes -= self._sizes[victim]
        return list(chosen)

    def _candidates(self, chosen: Container[SegmentKey]) -> list[SegmentKey]:
        """Records among which the next victim is looked for; none that is `chosen` already."""
        if len(self._keys) > _SAMPLE_SIZE:
            for _ in range(_MAX_TRIES):
                sample = self._random.sample(self._keys, _SAMPLE_SIZE)
                # A sample that holds only text says nothing about clips: draw another one.
                if found := [
                    key for key in sample if key not in chosen and not _KIND_RANK[key.kind]
                ]:
                    return found
        return [key for key in self._keys if key not in chosen]

    def _rank(self, key: SegmentKey) -> tuple[int, float, int]:
        age = self._newest[(key.stream_key, key.kind)] - key.index + 1
        return (_KIND_RANK[key.kind], -age / (1 + self._uses[key]), key.index)
