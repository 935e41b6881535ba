"""The recent window: the last clips of a stream, dropped a stride at a time.

A window that slides by one clip changes the start of every prompt, so that a prefix cache never
hits once the window is full. Dropping a whole stride at once keeps the start still for `stride`
clips: of these only the first pays for the window again, the others find all but the new clip
cached.
"""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from onlooker.core.media import Clip


class Timed(Protocol):
    """Anything with a clip's place and time."""

    @property
    def clip_index(self) -> int: ...

    @property
    def start_s(self) -> float: ...

    @property
    def end_s(self) -> float: ...


class RecentWindow:
    """At most `max_clips` clips, in time order.

    Args:
        max_clips: the bound, at least 1.
        stride_clips: how many of the oldest go at once when the bound is passed, 1 to `max_clips`.
    """

    def __init__(self, *, max_clips: int, stride_clips: int) -> None:
        if not 1 <= stride_clips <= max_clips:
            raise ValueError(
                f"a window of {max_clips} clips cannot drop {stride_clips} clips at a time"
            )
        self._max_clips = max_clips
        self._stride_clips = stride_clips
        self._clips: deque[Clip] = deque()

    def add(self, clip: Clip) -> None:
        """Take the newest clip; drops a stride when the window is full."""
        assert not self._clips or clip.clip_index > self._clips[-1].clip_index
        if len(self._clips) == self._max_clips:
            for _ in range(self._stride_clips):
                self._clips.popleft()
        self._clips.append(clip)

    def discard(self, clip: Clip) -> None:
        """Take back the newest clip: its ingest failed, so no answer may rest on it."""
        if self._clips and self._clips[-1] is clip:
            self._clips.pop()

    def until(self, time_s: float) -> Sequence[Clip]:
        """What had been captured by stream time `time_s`, which is what an answer then may know.

        A clip that this time cuts in two shows its first frame only.
        """
        return [part for clip in self._clips if (part := clip.until(time_s)) is not None]

    def clips(self) -> Sequence[Clip]:
        """All clips, oldest first."""
        return list(self._clips)

    def __len__(self) -> int:
        return len(self._clips)


def spans_s(clips: Sequence[Timed]) -> tuple[tuple[float, float], ...]:
    """Merge neighbouring clips into (start, end) spans of stream time, in seconds."""
    spans: list[tuple[float, float]] = []
    last_index: int | None = None
    for clip in clips:
        if spans and last_index is not None and clip.clip_index == last_index + 1:
            spans[-1] = (spans[-1][0], clip.end_s)
        else:
            spans.append((clip.start_s, clip.end_s))
        last_index = clip.clip_index
    return tuple(spans)
