"""What an album loses first: old stretches before new ones, and in them what changed least.

A stream's time is cut into *stretches* of equal length. Thinning a stretch takes away the half of
its pictures that differ least from the one before. Which is thinned next depends on its age and on
how many pictures it has left: one with half as many waits until it is `AGE_FACTOR` times as old. So
the density of an album that is always full falls with age by a power law: yesterday evening has a
picture every few seconds, last month one a minute, and whatever happened in either is more likely
to be among them than what did not.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from onlooker.core.ids import StreamId, split_stream_id

STRETCH_S = 900.0
"""Length of a stretch in stream time."""

AGE_FACTOR = 3.0
"""How many times as old a stretch must be as one with twice as many pictures, to be thinned before
it. Above 2, so that the room that a stretch takes falls with its age."""

_POWER = math.log2(AGE_FACTOR)


def stretch_of(start_s: float) -> int:
    """The number of the stretch that a picture lies in; it begins at that times `STRETCH_S`."""
    return math.floor(start_s / STRETCH_S)


def next_stretch(counts: Mapping[int, int]) -> int:
    """The number of the stretch of a stream to be thinned first. `counts`: how many pictures each
    stretch has, by its number; at least one has some."""
    newest = max(counts)

    def urgency(number: int) -> tuple[float, int]:
        return (newest - number + 1) * counts[number] ** _POWER, -number

    return max(counts, key=urgency)


def leaving(pictures: Sequence[tuple[int, float]]) -> list[int]:
    """The clips whose pictures leave a stretch that is thinned: half of them, one at least.
    `pictures`: the clip index and the change of each."""
    quiet = sorted(pictures, key=lambda one: (one[1], one[0]))
    return [clip_index for clip_index, _ in quiet[: max(1, len(quiet) // 2)]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """What an album may hold, in bytes."""

    max_bytes: int
    """Of all streams."""
    max_tenant_bytes: int
    max_stream_bytes: int
    max_streams: int
    """Streams that may have pictures at once."""

    @property
    def least_bytes(self) -> int:
        """The smallest of the limits."""
        return min(self.max_bytes, self.max_tenant_bytes, self.max_stream_bytes)

    def exceeded_by(self, sizes: Mapping[str, int]) -> str | None:
        """The stream that has to give up pictures: one that is over its own budget, else the
        largest of the tenant that has most. None where every budget is kept. `sizes`: the bytes of
        each stream."""
        if not sizes:
            return None
        biggest = _largest(sizes, sizes=sizes)
        if sizes[biggest] > self.max_stream_bytes:
            return biggest
        tenants: dict[str, int] = {}
        for stream, num_bytes in sizes.items():
            tenant = _tenant_of(stream)
            tenants[tenant] = tenants.get(tenant, 0) + num_bytes
        most = max(sorted(tenants), key=lambda tenant: tenants[tenant])
        is_over = tenants[most] > self.max_tenant_bytes or sum(sizes.values()) > self.max_bytes
        its_streams = [stream for stream in sizes if _tenant_of(stream) == most]
        return _largest(its_streams, sizes=sizes) if is_over else None


def _largest(streams: Iterable[str], *, sizes: Mapping[str, int]) -> str:
    return max(sorted(streams), key=lambda stream: sizes[stream])


def _tenant_of(stream: str) -> str:
    return split_stream_id(StreamId(stream))[0]
