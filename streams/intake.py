"""`Intake`: what is checked of a frame message before it may wait to be decoded."""

import asyncio
import math

from onlooker.core.clock import Clock
from onlooker.core.errors import InvalidRequest
from onlooker.core.media import DropReason, EncodedFrame, FrameOutcome
from onlooker.core.token_bucket import TokenBucket
from onlooker.streams.config import StreamsSection
from onlooker.streams.events import FrameAck
from onlooker.streams.mailbox import Entry
from onlooker.streams.perception.sampler import RateMeter, Sampler
from onlooker.streams.quality.service import StreamService
from onlooker.streams.watching import Watcher


class Intake:
    """Counts, checks and thins one stream's messages; keeps the time of its sources in one line.

    Args:
        interval_s: stream time between two pictures that are looked at.
        pushed_s: stream time that earlier sources came to; None of a stream that is new.
    """

    def __init__(
        self,
        *,
        watcher: Watcher,
        service: StreamService,
        settings: StreamsSection,
        clock: Clock,
        is_live: bool,
        interval_s: float,
        pushed_s: float | None,
    ) -> None:
        self._watcher, self._service = watcher, service
        self._settings, self._clock, self._is_live = settings, clock, is_live
        self._interval_s = interval_s
        self._sampler = Sampler(interval_s)
        self._flood = TokenBucket(
            rate_per_s=settings.max_fps, burst=max(1.0, settings.max_fps), clock=clock
        )
        self._fps = RateMeter()
        self._shift_s: float | None = 0.0
        self.pushed_s = pushed_s
        """Capture time of the newest message that was taken."""
        self.pushed_at_s = 0.0
        """Clock time at which it was."""

    def begin_source(self) -> None:
        """Another source begins; the first frame decides how its time is shifted."""
        self._shift_s = None
        self._sampler = Sampler(self._interval_s)

    def fps(self) -> float:
        """Messages a second that come in."""
        return self._fps.rate(self._clock.now_s())

    def settled_fps(self) -> float:
        """The same once it has been counted for a while; 0 before."""
        return self._fps.settled_rate(self._clock.now_s())

    def admit(
        self,
        frame: EncodedFrame,
        outcome: "asyncio.Future[FrameAck] | None",
        newest_s: float | None,
    ) -> Entry | None:
        """Count and check a message; None when its outcome is already known.

        `newest_s`: the newest stream time that came in or was seen.

        Raises:
            InvalidRequest: a capture time that is no time.
        """
        if not (math.isfinite(frame.capture_s) and frame.capture_s >= 0):
            raise InvalidRequest(
                f"a capture time is in seconds, 0 or more; got {frame.capture_s}", param="timestamp"
            )
        now_s = self._clock.now_s()
        self._watcher.counters.received += 1
        self._fps.note(now_s)
        entry = Entry(self._shifted(frame, now_s, newest_s), outcome)
        reason = self._reason_to_drop(entry.message, now_s)
        if reason is not None:
            self._watcher.settle(entry, FrameOutcome.DROPPED, reason)
            return None
        capture_s = entry.message.capture_s
        self.pushed_s, self.pushed_at_s = capture_s, now_s
        if not frame.codec.is_still:
            return entry
        if not self._sampler.pick(capture_s):
            self._watcher.settle(entry, FrameOutcome.SKIPPED, None)
        elif not self._service.keeps(capture_s):
            self._watcher.settle(entry, FrameOutcome.DROPPED, DropReason.OVERLOAD)
        else:
            return entry
        return None

    def _reason_to_drop(self, frame: EncodedFrame, now_s: float) -> DropReason | None:
        if self._is_live and not self._flood.try_take():
            return DropReason.RATE_LIMIT
        if len(frame.payload) > self._settings.max_frame_bytes:
            return DropReason.TOO_LARGE
        if self.pushed_s is not None and frame.capture_s < self.pushed_s:
            return DropReason.LATE
        return None

    def _shifted(self, frame: EncodedFrame, now_s: float, newest_s: float | None) -> EncodedFrame:
        """Move a new source's time behind what the stream has seen; 0 for most."""
        if self._shift_s is None:
            self._shift_s = 0.0
            if newest_s is not None and frame.capture_s < newest_s:
                pause_s = now_s - self.pushed_at_s if self._is_live else self._interval_s
                self._shift_s = newest_s + max(pause_s, self._interval_s) - frame.capture_s
        if not self._shift_s:
            return frame
        return EncodedFrame(
            frame.sequence,
            frame.capture_s + self._shift_s,
            frame.codec,
            frame.payload,
            frame.received_at_s,
        )
