"""`Intake`: what is checked of a frame message before it may wait to be decoded."""

import math
from dataclasses import dataclass, replace

from onlooker.core.errors import InvalidRequest
from onlooker.core.media import DropReason, EncodedFrame, FrameMessage, FrameOutcome
from onlooker.core.token_bucket import TokenBucket
from onlooker.streams.perception.sampler import RateMeter, Sampler
from onlooker.streams.quality.stream_quality import StreamQuality
from onlooker.streams.shared import Shared
from onlooker.streams.state import StreamTerms


@dataclass(frozen=True, slots=True)
class Received:
    """What the intake found of one message."""

    message: FrameMessage
    """The message, with its capture time moved to stream time."""
    outcome: FrameOutcome | None = None
    """What became of the message; None where that is open and it may wait to be decoded."""
    reason: DropReason | None = None
    """Why the message was dropped; set exactly when `outcome` is DROPPED."""


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
        self._max_bytes = shared.settings.max_frame_bytes
        self._sampler = Sampler(terms.interval_s)
        max_fps = shared.settings.max_fps
        self._flood = TokenBucket(rate_per_s=max_fps, burst=max(1.0, max_fps), clock=shared.clock)
        self._fps = RateMeter()
        self._shift_s: float | None = 0.0
        self.pushed_s = pushed_s
        """Capture time of the newest message that was taken; None before the first."""
        self.pushed_at_s = 0.0
        """Clock time at which the newest message was taken."""

    def begin_source(self) -> None:
        """Another source begins; the first frame decides how its time is shifted."""
        self._shift_s = None
        self._sampler = Sampler(self._terms.interval_s)

    def fps(self) -> float:
        """Messages a second that come in."""
        return self._fps.rate(self._clock.now_s())

    def settled_fps(self) -> float:
        """Messages a second that come in, once a whole window was counted; 0 before."""
        return self._fps.settled_rate(self._clock.now_s())

    def admit(self, message: FrameMessage, newest_s: float | None) -> Received:
        """Check a message. `newest_s`: the newest stream time that came in or was seen.

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
        message = self._shifted(message, now_s, newest_s)
        reason = self._reason_to_drop(message)
        if reason is not None:
            return Received(message, FrameOutcome.DROPPED, reason)
        self.pushed_s, self.pushed_at_s = message.capture_s, now_s
        if message.is_still:
            if not self._sampler.pick(message.capture_s):
                return Received(message, FrameOutcome.SKIPPED)
            if not self._quality.keeps(message.capture_s):
                return Received(message, FrameOutcome.DROPPED, DropReason.OVERLOAD)
        return Received(message)

    def _reason_to_drop(self, message: FrameMessage) -> DropReason | None:
        if self._terms.is_live and not self._flood.try_take():
            return DropReason.RATE_LIMIT
        if isinstance(message, EncodedFrame) and len(message.payload) > self._max_bytes:
            return DropReason.TOO_LARGE
        if self.pushed_s is not None and message.capture_s < self.pushed_s:
            return DropReason.LATE
        return None

    def _shifted(self, message: FrameMessage, now_s: float, newest_s: float | None) -> FrameMessage:
        """The message; moved behind what was seen if its source's time begins before that."""
        if self._shift_s is None:
            self._shift_s = 0.0
            if newest_s is not None and message.capture_s < newest_s:
                interval_s = self._terms.interval_s
                pause_s = now_s - self.pushed_at_s if self._terms.is_live else interval_s
                self._shift_s = newest_s + max(pause_s, interval_s) - message.capture_s
        if not self._shift_s:
            return message
        return replace(message, capture_s=message.capture_s + self._shift_s)
