"""The recent window: the last clips of a stream, dropped a stride at a time.

A window that slides by one clip puts every clip in another place each time, so that nothing of the
last prompt can be used again. This one grows clip by clip and drops a whole stride when it is full.
While it only grows, each prompt begins as the one before, and vLLM's prefix cache finds that
beginning in the blocks where it was left.
"""

import secrets
from collections.abc import Collection, Sequence
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """Anything with a clip's place and time."""

    @property
    def clip_index(self) -> int: ...

    @property
    def start_s(self) -> float: ...

    @property
    def end_s(self) -> float: ...


C = TypeVar("C", bound=Timed)


class RecentWindow(Generic[C]):
    """Where one stream's window begins, and a name for the stretch in which it only grows.

    Where KV is loaded rather than computed, vLLM must find it again for this stream and this
    stretch alone: the name is the salt of its requests. It changes whenever the beginning does.
    """

    def __init__(self) -> None:
        self._first_index: int | None = None
        self._name = ""
        self._is_whole = False

    @property
    def name(self) -> str:
        """The name of the stretch that the last call of `before_next` began or went on with."""
        return self._name

    def before_next(self, clips: Sequence[C], *, max_clips: int, stride_clips: int) -> Sequence[C]:
        """The clips before the next one: at most `max_clips` of the newest of `clips`. When they
        are too many, `stride_clips` go at once.

        A request that was not `done` before the next begins may have left blocks that do not hold
        what they should: what follows it has a new name.
        """
        start = 0
        if self._first_index is not None:
            while start < len(clips) and clips[start].clip_index < self._first_index:
                start += 1
        if len(clips) - start > max_clips:
            start = len(clips) - max(0, max_clips - stride_clips + 1)
        context = clips[start:]
        first_index = context[0].clip_index if context else None
        if not self._is_whole or first_index != self._first_index:
            self._name = secrets.token_hex(8)
        self._first_index = first_index
        self._is_whole = False
        return context

    def forget(self, clip_indices: Collection[int]) -> None:
        """Begin another stretch if any of these clips is in the window: no later request finds
        blocks that were computed while they could be seen."""
        first = self._first_index
        if first is None or any(index >= first for index in clip_indices):
            self._first_index, self._is_whole = None, False

    def done(self) -> None:
        """Note that the request ended well: its blocks hold what its prompt says."""
        self._is_whole = True
