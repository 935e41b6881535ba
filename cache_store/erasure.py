"""`Erasure`: what is to be deleted of a stream, in every tier."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field

from onlooker.cache_store.key import SegmentKey, StreamKey


@dataclass(frozen=True, slots=True)
class Erasure:
    """All of one life of a stream, or some of its segments."""

    stream: StreamKey
    keys: frozenset[SegmentKey] | None = None
    """The segments; None is all that there are and ever come."""
    epoch: int | None = field(default=None, compare=False)
    """That of the owner on whose behalf it is deleted; None where the stream has no owner."""

    @property
    def name(self) -> str:
        """A text that differs between any two erasures."""
        if self.keys is None:
            return self.stream.prefix
        texts = "\n".join(sorted(key.text for key in self.keys))
        return self.stream.prefix + hashlib.blake2b(texts.encode(), digest_size=8).hexdigest()

    def covers(self, key: SegmentKey) -> bool:
        """Whether a segment is to be deleted."""
        if self.keys is None:
            return key.stream_prefix == self.stream.prefix
        return key in self.keys

    def found(self, among: Collection[SegmentKey]) -> list[SegmentKey]:
        """Those of the segments that are to be deleted; looks through whichever are fewer."""
        if self.keys is not None and len(self.keys) < len(among):
            return [key for key in self.keys if key in among]
        return [key for key in among if self.covers(key)]
