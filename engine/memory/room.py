"""`ClipRoom`: for how many clips there is room, and for how long that is."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRoom:
    """Room for clips, all streams together. It is learned from one clip, and others may differ in
    size."""

    clip_tokens: int
    clip_bytes: int
    """Bytes of one clip where it is held ready."""
    index_row_bytes: int
    arena_bytes: float
    """Bytes for clips that are held ready."""
    kept_bytes: float
    """Bytes for all that is remembered; infinite where the store bounds itself."""
    index_bytes: float

    @property
    def max_held(self) -> int:
        """Clips that can be held ready."""
        return int(self.arena_bytes / max(1, self.clip_bytes))

    @property
    def max_clips(self) -> int:
        """Clips that can be remembered: one at least."""
        in_store = self.kept_bytes / max(1, self.clip_bytes)
        in_index = self.index_bytes / max(1, self.index_row_bytes)
        return max(1, int(min(in_store, in_index)))

    def advice(self, context_clips: int) -> str | None:
        """What to raise where one context of so many clips is more than can be held ready; None
        where it is not."""
        if self.max_held >= context_clips:
            return None
        needed_gib = context_clips * self.clip_bytes / 2**30
        return (
            f"one context of {context_clips} clips is more than the {self.max_held} that are held "
            f"ready, and answers wait for the rest: raise engine.memory.arena_gib above "
            f"{needed_gib:.2g}"
        )

    def __str__(self) -> str:
        in_index = self.index_bytes / max(1, self.index_row_bytes)
        bound = "the index" if in_index * self.clip_bytes < self.kept_bytes else "the store"
        return (
            f"a clip of {self.clip_tokens} tokens takes {_size(self.clip_bytes)}: at a clip a "
            f"second {_time(self.max_held)} are held ready in {_size(self.arena_bytes)}, and "
            f"{_time(self.max_clips)} remembered ({bound} is full then)"
        )


def _size(num_bytes: float) -> str:
    """As people say it: three figures in steps of 1000."""
    if num_bytes < 1000:
        return f"{num_bytes:.0f} B"
    power = min(4, int(math.log10(num_bytes) // 3))
    return f"{num_bytes / 1000**power:.3g} {'kMGT'[power - 1]}B"


def _time(seconds: float) -> str:
    for length_s, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.1f} {name}"
    return f"{seconds:.0f} seconds"
