"""What an album loses first: old stretches before new ones, and in them what changed least.

A stream's time is cut into *stretches* of equal length. Thinning a stretch takes away the half of
its pictures that differ least from the one before. A stretch that was thinned before waits until it
is `AGE_FACTOR` times as old, so the density of an album that is always full falls with age by a
power law: yesterday evening has a picture every few seconds, last month one a minute, and whatever
happened in either is more likely to be among them than what did not.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from onlooker.core.ids import StreamId, split_stream_id

STRETCH_S = 900.0
"""Length of a stretch in stream time."""

AGE_FACTOR = 3.0
"""How many times as old a stretch must be as one that was thinned once less, to be thinned first.
Above 2, so that the room that a stretch takes falls with its age."""

MAX_LEVEL = 8
"""How often a stretch is thinned; after that it goes as a whole."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of one stream."""

    number: int
    """It begins at `number * STRETCH_S`."""
    level: int
    """How often it was thinned."""


def stretch_of(start_s: float) -> int:
    """The number of the stretch that a picture lies in."""
    return math.floor(start_s / STRETCH_S)


def next_stretch(levels: Mapping[int, int]) -> Stretch:
    """The stretch of a stream to be thinned first. `levels`: of each stretch that has pictures, by
    its number; at least one."""
    newest = max(levels)

    def urgency(number: int) -> tuple[float, int]:
        return (newest - number + 1) / AGE_FACTOR ** levels[number], -number

    number = max(levels, key=urgency)
    return Stretch(number, levels[number])


def leaving(pictures: Sequence[tuple[int, float]], level: int) -> list[int]:
    """The clips whose pictures leave a stretch that was thinned `level` times. `pictures`: the
    clip index and the change of each, in order of time."""
    if level >= MAX_LEVEL or len(pictures) < 2:
        return [clip_index for clip_index, _ in pictures]
    quiet = sorted(pictures, key=lambda one: (one[1], one[0]))
    return [clip_index for clip_index, _ in quiet[: len(quiet) // 2]]


def heaviest(sizes: Mapping[str, int]) -> str:
    """The stream that gives up room: the largest of the tenant that has most. `sizes`: the bytes of
    each stream, of which there is at least one."""
    tenants: dict[str, int] = {}
    for stream, num_bytes in sizes.items():
        tenant = tenant_of(stream)
        tenants[tenant] = tenants.get(tenant, 0) + num_bytes
    most = max(sorted(tenants), key=lambda tenant: tenants[tenant])
    its_streams = [stream for stream in sizes if tenant_of(stream) == most]
    return largest(its_streams, sizes=sizes)


def largest(streams: Iterable[str], *, sizes: Mapping[str, int]) -> str:
    """The stream that has most bytes."""
    return max(sorted(streams), key=lambda stream: sizes[stream])


def tenant_of(stream: str) -> str:
    """The tenant of a stream."""
    return split_stream_id(StreamId(stream))[0]
