"""`GrowingContext`: the clips before a new one, so chosen that most of their KV need not move.

A context that slides by one clip puts every clip in another place each time. This one grows clip by
clip and drops a stride when it is full. While it only grows, each prompt begins as the one before,
and vLLM finds that beginning in the blocks where it was left: its prefix cache, salted with a name
that only this stream in this stretch of growth uses, so that nothing else can ever be found there.
"""

import secrets
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar


class Placed(Protocol):
    """Anything with a clip's place in its stream."""

    @property
    def clip_index(self) -> int: ...


C = TypeVar("C", bound=Placed)


class GrowingContext(Generic[C]):
    """Where one stream's context begins, and under which name its KV may be found again."""

    def __init__(self) -> None:
        self._first_index: int | None = None
        self._name = ""
        self._is_whole = False

    def begin(
        self, clips: Sequence[C], *, max_clips: int, stride_clips: int
    ) -> tuple[Sequence[C], str]:
        """The clips before the next one, at most `max_clips` of the newest of `clips`, and the salt
        of its request. When they are too many, `stride_clips` go at once.

        A request that was not `done` before the next begins may have left blocks that do not hold
        what they should: what follows it uses a new name.
        """
        start = 0
        if self._first_index is not None:
            while start < len(clips) and clips[start].clip_index < self._first_index:
                start += 1
        count = len(clips) - start
        if count > max_clips:
            start = len(clips) - max(0, max_clips - stride_clips + 1)
        context = clips[start:]
        first_index = context[0].clip_index if context else None
        if not self._is_whole or first_index != self._first_index:
            self._name = secrets.token_hex(8)
        self._first_index = first_index
        self._is_whole = False
        return context, self._name

    def done(self) -> None:
        """The request ended well: its blocks hold what its prompt says."""
        self._is_whole = True
