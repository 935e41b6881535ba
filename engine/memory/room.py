"""`ClipRoom`: for how many clips there is room, and for how long that is."""

import math
from dataclasses import dataclass

from onlooker.core.errors import ConfigError
from onlooker.engine.memory.index_split import IndexSplit


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRoom:
    """Room for clips, all streams and workers together. It is learned from one clip, and others may
    differ in size."""

    clip_tokens: int
    clip_bytes: int
    """Bytes of one clip where it is held ready."""
    stored_bytes: int
    """Bytes of one clip where it is kept."""
    index_row_bytes: int
    arena_bytes: float
    """Bytes for clips that are held ready."""
    kept_bytes: float
    """Bytes for all that is remembered; infinite where the store bounds itself."""
    index_bytes: int
    index_host_bytes: int = 0
    """Memory of a GPU's host for the index entries of older clips."""
    index_coarse_bytes: int = 0
    """Bytes that stay on the GPU of such a clip; 0 where there is no such memory."""

    @property
    def max_held(self) -> int:
        """Clips that can be held ready."""
        return int(self.arena_bytes / max(1, self.clip_bytes))

    @property
    def max_clips(self) -> int:
        """Clips of this size that can be remembered: one at least."""
        in_store = self.kept_bytes / max(1, self.stored_bytes)
        return max(1, int(min(in_store, self.max_indexed)))

    @property
    def max_indexed(self) -> int:
        """Clips that the index can hold, whatever their size: one at least."""
        return max(1, self.index.max_rows)

    @property
    def index(self) -> IndexSplit:
        """Which clips' index entries lie where."""
        return IndexSplit(
            row_bytes=max(1, self.index_row_bytes),
            coarse_bytes=self.index_coarse_bytes,
            device_bytes=self.index_bytes,
            host_bytes=self.index_host_bytes,
        )

    @property
    def max_tokens(self) -> float:
        """Tokens of clips that can be kept, in clips of any size: one such clip at least."""
        kept = self.kept_bytes * self.clip_tokens / max(1, self.stored_bytes)
        return max(kept, self.clip_tokens)

    def check(self, context_clips: int) -> None:
        """Refuse what does not hold one context of so many clips: each answer would push out what
        the next clip needs, and wait for it to be read again.

        Raises:
            ConfigError: naming what to raise, and to what.
        """
        for name, held, each_bytes in (
            ("arena_gib", self.max_held, self.clip_bytes),
            ("index_gib", self.index.max_rows, self.index_row_bytes),
        ):
            if held < context_clips:
                needed_gib = math.ceil(context_clips * each_bytes / 2**30 * 1e4) / 1e4
                raise ConfigError(
                    f"one context of {context_clips} clips of {_size(each_bytes)} does not fit "
                    f"engine.memory.{name}, which holds {held}: set it to {needed_gib:g} or more, "
                    "or lower engine.memory.recent_clips or retrieved_clips"
                )

    def __str__(self) -> str:
        in_store = self.kept_bytes / max(1, self.stored_bytes)
        bound = "the index" if self.max_indexed < in_store else "the store"
        stored = ""
        if self.stored_bytes != self.clip_bytes:
            stored = f" ({_size(self.stored_bytes)} stored)"
        index = f"an index of at most {_size(self.index_bytes)}"
        if below := self.index.max_below:
            index += (
                f" on the GPU, of which {_time(self.index.max_whole)} lie whole there, and "
                f"{_time(below)} in {_size(below * self.index_row_bytes)} of its host"
            )
        return (
            f"a clip of {self.clip_tokens} tokens takes {_size(self.clip_bytes)}{stored}: at a "
            f"clip a second {_time(self.max_held)} are held ready in {_size(self.arena_bytes)}, "
            f"and {_time(self.max_clips)} remembered ({bound} is full then), by {index}"
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
