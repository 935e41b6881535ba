"""`MediaTime`: the time stamps of a sender's frames as stream time.

Time stamps say exactly how far apart frames were captured, but not when: they begin anywhere, and
the sender's clock may be off, jump or begin again. Arrival says when, but not exactly, as packets
are held up on their way. So the time stamps are laid on the arrivals that were held up least; where
the two drift apart, arrival wins. A sender's reports, which say what its time stamps are on its own
wall clock, are not used: they would only exchange one clock of a stranger for another.
"""

from onlooker.streams.webrtc.reception import CLOCK_RATE

MOST_APART_S = 2.0
"""Seconds between a frame's time by its stamp and its arrival beyond which the stamps have jumped,
and begin anew from the arrival."""

DRIFT_RATIO = 0.005
"""Share by which a sender's clock may run slow; what was held up least is believed for as long."""

LEAST_STEP_S = 0.000_001


class MediaTime:
    """One sender's times."""

    def __init__(self) -> None:
        self._stamp: int | None = None
        self._media_s = 0.0
        """Time since the first frame, by the stamps."""
        self._offset_s = 0.0
        """Added to the media's time it gives stream time."""
        self._arrived_s = 0.0
        self._last_s = -LEAST_STEP_S

    def place(self, timestamp: int, arrived_s: float) -> float:
        """The stream time of a frame that arrived at the stream time `arrived_s`. It is later than
        that of the frame before, and never later than its arrival by more than that takes."""
        if self._stamp is None:
            self._offset_s = arrived_s
        else:
            step = (timestamp - self._stamp) & 0xFFFFFFFF
            self._media_s += (step if step < 1 << 31 else step - (1 << 32)) / CLOCK_RATE
        apart_s = arrived_s - (self._media_s + self._offset_s)
        if abs(apart_s) > MOST_APART_S:
            self._offset_s += apart_s
        else:
            slack_s = DRIFT_RATIO * max(0.0, arrived_s - self._arrived_s)
            self._offset_s += min(apart_s, slack_s)
        self._stamp, self._arrived_s = timestamp, arrived_s
        self._last_s = max(self._media_s + self._offset_s, self._last_s + LEAST_STEP_S, 0.0)
        return self._last_s
