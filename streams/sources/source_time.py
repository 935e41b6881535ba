"""`SourceTime`: one pulled source's time as stream time, over all the times that it is opened."""

from onlooker.streams.config import StreamsSection
from onlooker.streams.perception.stream_time import Placed, StreamTime
from onlooker.streams.sources.live_time import LiveTime

LATE_S = 0.5
"""A picture that is back by less than this is late; what is decoded comes in order, so that more
means that the source's time began again."""


class SourceTime:
    """Stream time begins at 0 with the first picture and only grows. What is live keeps step with
    the clock, everything else with its own time."""

    def __init__(self, settings: StreamsSection) -> None:
        self._settings = settings
        self._own: StreamTime | None = None
        self._live: LiveTime | None = None
        self._is_live = False
        self._max_gap_s = settings.max_gap_s
        self._last_s: float | None = None

    def begin_again(self, *, is_live: bool, is_recorded: bool) -> None:
        """Note that the source was opened: its time has nothing to do with what it was.

        Args:
            is_live: its pictures come when they are taken, and the clock can tell when.
            is_recorded: it has an end; its gaps are its own, however long.
        """
        self._own = self._live = None
        self._is_live = is_live
        own_gap_s = 2 * self._settings.sources.max_drift_s
        self._max_gap_s = self._settings.max_gap_s if is_recorded else own_gap_s

    def place(self, time_s: float, *, step_s: float, now_s: float) -> Placed:
        """The place of the next picture, whose own time is `time_s` and which came at clock time
        `now_s`; one that begins anew follows the last by `step_s`."""
        if self._live is None and self._own is None:
            self._begin(0.0 if self._last_s is None else self._last_s + step_s)
        if self._live is not None:
            placed = self._live.place(time_s, now_s=now_s)
        else:
            assert self._own is not None, "begun as one of the two"
            placed = self._own.place(time_s, late_s=LATE_S, step_s=step_s)
        if placed.at_s is not None:
            self._last_s = placed.at_s
        return placed

    def _begin(self, at_s: float) -> None:
        if self._is_live:
            max_drift_s = self._settings.sources.max_drift_s
            self._live = LiveTime(begin_s=at_s, max_drift_s=max_drift_s)
        else:
            self._own = StreamTime(max_gap_s=self._max_gap_s)
            self._own.begin(at_s)
