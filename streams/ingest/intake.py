"""`Intake`: what is checked of a frame message before it may wait to be decoded."""

import math

import msgspec
from msgspec import structs

from onlooker.core.errors import InvalidRequest
from onlooker.core.media import DropReason, EncodedFrame, Frame, FrameMessage, FrameOutcome
from onlooker.core.token_bucket import TokenBucket
from onlooker.streams.perception.sampler import RateMeter, Sampler
from onlooker.streams.perception.stream_time import Placed, StreamTime, TimeJump
from onlooker.streams.quality.stream_quality import StreamQuality
from onlooker.streams.shared import Shared
from onlooker.streams.state import StreamTerms

LATE_S = 10.0
"""A message that is older than the last by less has been overtaken on its way; one that is older by
more says that its source's clock was set back."""


class Received(msgspec.Struct, frozen=True):
    """What the intake found of one message."""

    message: FrameMessage
    """The message, with its capture time moved to stream time."""
    outcome: FrameOutcome | None = None
    """What became of the message; None where that is open and it may wait to be decoded."""
    reason: DropReason | None = None
    """Why the message was dropped; set exactly when `outcome` is DROPPED."""
    jump: TimeJump | None = None
    """How the source's time jumped with this message; None where it went on as expected."""


class Intake:
    """Checks and thins one stream's messages; keeps the time of its sources in one line.

    Args:
        pushed_s: stream time that earlier sources came to; None for a new stream.
    """

    def __init__(
        self,
        terms: StreamTerms,
        shared: Shared,
        *,
        quality: StreamQuality,
        pushed_s: float | None,
    ) -> None:
        self._terms, self._clock, self._quality = terms, shared.clock, quality
        self._account = shared.accounts.of_stream(terms.stream_id)
        self._max_bytes = shared.settings.max_frame_bytes
        self._sampler = Sampler(terms.interval_s)
        max_fps = shared.settings.max_fps
        self._flood = TokenBucket(rate_per_s=max_fps, burst=max(1.0, max_fps), clock=shared.clock)
        self._fps = RateMeter()
        # Where the clock is virtual, nothing but the sender can say how long a pause was.
        max_gap_s = shared.settings.max_gap_s if terms.is_live else math.inf
        self._time = StreamTime(max_gap_s=max_gap_s, last_s=pushed_s)
        self._is_fresh = False
        self.pushed_s = pushed_s
        """Capture time of the newest message that was taken; None before the first."""
        self.pushed_at_s = 0.0
        """Clock time at which the newest message was taken."""

    def begin_source(self) -> None:
        """Another source begins; the first frame decides how its time is shifted."""
        self._is_fresh = True
        self._sampler = Sampler(self._terms.interval_s)

    def fps(self) -> float:
        """Messages a second that come in."""
        return self._fps.rate(self._clock.now_s())

    def settled_fps(self) -> float:
        """Messages a second that come in, once a whole window was counted; 0 before."""
        return self._fps.settled_rate(self._clock.now_s())

    def admit(
        self, message: FrameMessage, newest_s: float | None, *, is_useless: bool = False
    ) -> Received:
        """Check a message. `newest_s`: the newest stream time that came in or was seen.
        `is_useless`: it cannot be decoded, and so uses up nothing of what its tenant may send.

        Raises:
            InvalidRequest: the capture time is negative or not finite.
        """
        if not (math.isfinite(message.capture_s) and message.capture_s >= 0):
            raise InvalidRequest(
                f"a capture time is in seconds, 0 or more; got {message.capture_s}",
                param="timestamp",
            )
        now_s = self._clock.now_s()
        self._fps.note(now_s)
        reason = self._reason_to_drop(message)
        if reason is None and not is_useless:
            reason = self._account.check_frame(waits=not self._terms.is_live)
        if reason is not None:
            return Received(message, FrameOutcome.DROPPED, reason)
        placed = self._placed(message, now_s, newest_s)
        if placed.at_s is None:
            return Received(message, FrameOutcome.DROPPED, DropReason.LATE)
        if placed.at_s != message.capture_s:
            message = structs.replace(message, capture_s=placed.at_s)
        jump = placed.jump
        if jump is not None and jump.kind == "gap" and isinstance(message, Frame):
            jump = None  # who decoded it knew its source's time, and has told of the gap
        self.pushed_s, self.pushed_at_s = placed.at_s, now_s
        if message.is_still:
            if jump is not None and jump.kind == "moved":
                self._sampler = Sampler(self._terms.interval_s)
            if not self._sampler.pick(placed.at_s):
                return Received(message, FrameOutcome.SKIPPED, jump=jump)
            if not self._quality.keeps(placed.at_s):
                return Received(message, FrameOutcome.DROPPED, DropReason.OVERLOAD, jump)
        return Received(message, jump=jump)

    def _reason_to_drop(self, message: FrameMessage) -> DropReason | None:
        if self._terms.is_live and not self._flood.try_take():
            return DropReason.RATE_LIMIT
        if isinstance(message, EncodedFrame) and len(message.payload) > self._max_bytes:
            return DropReason.TOO_LARGE
        return None

    def _placed(self, message: FrameMessage, now_s: float, newest_s: float | None) -> Placed:
        """The message's place in stream time: its own, or behind what was seen if its source's time
        begins, or is set back, to before that."""
        if self._terms.zero_wall_s is not None and not self._terms.is_live:
            return self._placed_by_the_wall(message)
        is_container = isinstance(message, EncodedFrame) and message.codec.is_container
        paused_s = now_s - self.pushed_at_s if self._terms.is_live else 0.0
        step_s = max(paused_s, self._terms.interval_s)
        if self._is_fresh:
            self._is_fresh = False
            is_behind = newest_s is not None and message.capture_s < newest_s
            begin_s = newest_s + step_s if newest_s is not None and is_behind else None
            if self._terms.zero_wall_s is not None:
                wall_s = self._clock.wall_s() - self._terms.zero_wall_s
                begin_s = max(wall_s, 0.0 if newest_s is None else newest_s + step_s)
            self._time.begin(begin_s)
        return self._time.place(
            message.capture_s,
            late_s=0.0 if is_container else LATE_S,  # pieces never overtake each other
            step_s=step_s,
            elapsed_s=paused_s,
            may_repeat=True,
        )

    def _placed_by_the_wall(self, message: FrameMessage) -> Placed:
        """The place of a recording's message, which is its own. What was received before, as it
        comes again after a connection was lost, is late: two pictures of one time are one."""
        at_s, pushed_s = message.capture_s, self.pushed_s
        is_new = pushed_s is None or at_s > pushed_s or (at_s == pushed_s and not message.is_still)
        return Placed(at_s if is_new else None)
