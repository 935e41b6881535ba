"""Who feeds a stream, and how its source fares.

One source at a time holds the lease. What is told of the last one stays when it has ended, so that
whoever looks later learns why there are no pictures.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from onlooker.core.clock import Clock


class SourceState(StrEnum):
    """How a stream's source is."""

    OPENING = "opening"
    """It is being opened, and has given no picture yet."""
    PLAYING = "playing"
    LOST = "lost"
    """It failed, and will be tried again."""
    ENDED = "ended"
    """It came to its end, or whoever fed the stream stopped."""
    FAILED = "failed"
    """It failed, and will not be tried again."""


class SourceChange(StrEnum):
    """What has just happened to a source, as events tell it."""

    BEGAN = "began"
    PLAYING = "playing"
    """Its first picture came."""
    LOST = "lost"
    FOUND_AGAIN = "found again"
    ENDED = "ended"
    FAILED = "failed"


_STATES = {
    SourceChange.BEGAN: SourceState.OPENING,
    SourceChange.PLAYING: SourceState.PLAYING,
    SourceChange.LOST: SourceState.LOST,
    SourceChange.FOUND_AGAIN: SourceState.PLAYING,
    SourceChange.ENDED: SourceState.ENDED,
    SourceChange.FAILED: SourceState.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """How a stream's source is, or how the last one was."""

    owner: str
    """Names the source: a redacted address, a connection, HTTP calls."""
    state: SourceState
    reason: str
    """Why it is so, for people; empty where there is nothing to say."""
    changed_wall_s: float
    """When it came to be so, in seconds since the Unix epoch."""
    num_failures: int = 0
    """Attempts in a row that failed."""
    next_try_wall_s: float | None = None
    """When a source that is lost is tried again, in seconds since the Unix epoch."""


class SourceLease:
    """The right to feed one stream, which one source has at a time; its holder releases it.

    Args:
        owner: names the source in errors and status.
        is_pulled: whether the server opens the source by itself, and so tells how that goes.
        is_opening: whether it is still to be seen if a picture comes, as with all that are pulled;
            its holder tells when one does. Others begin with a frame.
        on_change: is called with what changed and with the status since.
        on_release: is called with the lease when it is released.
    """

    def __init__(
        self,
        owner: str,
        *,
        clock: Clock,
        is_pulled: bool,
        is_opening: bool,
        on_change: Callable[[SourceChange, SourceStatus], None],
        on_release: Callable[["SourceLease"], None],
    ) -> None:
        self.owner, self.is_pulled = owner, is_pulled
        self._is_opening = is_opening
        self._clock = clock
        self._on_change, self._on_release = on_change, on_release
        self._is_held = True

    def tell(
        self,
        change: SourceChange,
        reason: str = "",
        *,
        num_failures: int = 0,
        retry_in_s: float | None = None,
    ) -> None:
        """Let viewers know how the source is from now on. What comes after the release is not
        told."""
        if not self._is_held:
            return
        now_s = self._clock.wall_s()
        state = _STATES[change]
        if change is SourceChange.BEGAN and not self._is_opening:
            state = SourceState.PLAYING
        status = SourceStatus(
            owner=self.owner,
            state=state,
            reason=reason,
            changed_wall_s=now_s,
            num_failures=num_failures,
            next_try_wall_s=None if retry_in_s is None else now_s + retry_in_s,
        )
        self._on_change(change, status)

    def release(
        self, reason: str = "", *, change: SourceChange = SourceChange.ENDED, num_failures: int = 0
    ) -> None:
        """Stop feeding; what the decoder holds back is shown to the model. Idempotent."""
        if not self._is_held:
            return
        self._on_release(self)
        self.tell(change, reason, num_failures=num_failures)
        self._is_held = False
