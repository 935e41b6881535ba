"""`FrameTimes`: when the frames of an opened source are to be seen, by its own clock or by ours."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from av.container import InputContainer
from av.video.frame import VideoFrame

TIMELESS = ("h264", "hevc", "mjpeg", "mpjpeg", "m4v", "obu", "av1")
"""Formats that hold pictures and no times; FFmpeg invents them, or gives none."""

NOMINAL_FPS = 25.0
"""The rate of a recording without times that does not say its rate either, as FFmpeg has it."""


class FrameTimes:
    """Times of one opening's frames, which it must be asked for in order.

    A live source without times has those at which its pictures arrive. A recording without times is
    played at the rate that is given, or else at that which its coded video names.

    Args:
        nominal_fps: the rate that is given; None where none is.
        now_s: tells the server's clock.
    """

    def __init__(
        self,
        container: InputContainer,
        *,
        is_recorded: bool,
        nominal_fps: float | None,
        now_s: Callable[[], float],
    ) -> None:
        names = container.format.name.split(",")
        self._is_timeless = any(name in TIMELESS for name in names)
        self._is_recorded, self._nominal_fps, self._now_s = is_recorded, nominal_fps, now_s
        self._has_times = False
        self._next_s = 0.0

    def of(self, frame: VideoFrame) -> float:
        """Seconds in the source's own time, which may jump."""
        known: Any = frame.time  # None where the frame has no time, whatever the stubs say
        if known is not None and not self._is_timeless:
            time_s, self._has_times = float(known), True
        elif self._is_recorded or self._has_times:
            time_s = self._next_s
        else:
            return self._now_s()
        self._next_s = time_s + self._step_s(frame)
        return time_s

    def _step_s(self, frame: VideoFrame) -> float:
        if self._nominal_fps is not None:
            return 1 / self._nominal_fps
        duration, base = frame.duration, frame.time_base
        if duration and base:
            return max(float(duration * Fraction(base)), 1 / 1000)
        return 1 / NOMINAL_FPS
