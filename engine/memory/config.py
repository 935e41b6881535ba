"""Settings of stream memory."""

from typing import Literal

from pydantic import Field

from onlooker.core.settings import Section


class MemorySection(Section):
    """What a stream remembers, and what an answer may see of it (segments mode)."""

    recent_clips: int | None = Field(default=None, ge=1, le=4096)
    """Clips of the recent window, in the context of every clip and every answer. None: 16, or what
    the model's window leaves beside `retrieved_clips`."""

    retrieved_clips: int = Field(default=8, ge=0, le=512)
    """Older clips that a question brings back. 0: none, what left the window is not seen again."""

    score: Literal["mean_key", "late_interaction"] = "mean_key"
    """How older clips are ranked for a question: ``mean_key`` (ReKV) is cheapest;
    ``late_interaction`` compares every token and finds small evidence."""

    arena_gib: float = Field(default=2.0, gt=0, le=65536)
    """Memory for segments, all streams together. When it is full the oldest clips of the longest
    stream are forgotten."""
