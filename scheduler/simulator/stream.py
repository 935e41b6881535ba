"""One simulated stream: its mailbox, its pair of frames, its clip in flight."""

from collections import deque
from collections.abc import Callable

from onlooker.scheduler.forecast import Demand
from onlooker.scheduler.quality import Quality
from onlooker.scheduler.shedding import is_too_late
from onlooker.scheduler.slo import Slo, Tier

MAILBOX_FRAMES = 4
PAIR_GAP_S = 0.75
"""Longest gap in seconds between two frames of a clip, as `streams.perception.max_pair_gap_s`."""


class SimulatedStream:
    """Treats a live stream of pictures as `onlooker.streams.ingest` and `quality` do.

    Args:
        shed: is called with why a frame goes, and when it came.
    """

    def __init__(
        self, index: int, tier: Tier, slo: Slo, fps: float, shed: Callable[[str, float], None]
    ) -> None:
        self.index, self.tier, self.slo = index, tier, slo
        self.is_open = True
        self.in_flight: list[float] | None = None
        """Arrival times of the frames of the clip that the engine has."""
        self.quality = Quality()
        self.num_lost = 0
        """Frames lost lately because the engine was behind."""
        self._fps = fps
        self._shed = shed
        self._mailbox: deque[float] = deque()
        self._num_offered = 0
        self._due = 0.0
        """The number of the frame with which the next pair begins."""
        self._is_second = False

    @property
    def is_empty(self) -> bool:
        """Whether no frame waits in the mailbox."""
        return not self._mailbox

    @property
    def num_unseen(self) -> int:
        """Frames that wait, or are on their way."""
        return len(self._mailbox) + len(self.in_flight or ())

    def behind_s(self, now_s: float) -> float:
        """Seconds that the newest frame in flight has waited."""
        return now_s - self.in_flight[-1] if self.in_flight else 0.0

    def offer(self, at_s: float) -> None:
        """Take in a frame that arrives at `at_s`."""
        self._num_offered += 1
        if not self._picks():
            self._shed("overload", at_s)
            return
        if len(self._mailbox) >= MAILBOX_FRAMES:
            self.num_lost += 1
            self._shed("mailbox_full", self._mailbox.popleft())
        self._mailbox.append(at_s)

    def _picks(self) -> bool:
        """Whether the newest frame is picked: two in a row are, so that they make a clip, then none
        for a while."""
        if self.quality.fps_share == 1.0:
            return True
        if not self._is_second:
            period = 2 / self.quality.fps_share
            if self._num_offered < self._due:
                return False
            self._due = max(self._due, self._num_offered - 1) + period
        self._is_second = not self._is_second
        return True

    def take_clip(self, now_s: float, *, ahead_s: float | None) -> list[float] | None:
        """The next clip's frames, if one can be made now and none is in flight.

        `ahead_s`: predicted seconds until it would be seen; None sheds nothing.
        """
        if self.in_flight is not None or not self.is_open:
            return None
        while ahead_s is not None and self._mailbox:
            first_s, has_newer = self._mailbox[0], len(self._mailbox) > 1
            if not is_too_late(
                age_s=now_s - first_s,
                ahead_s=ahead_s,
                lag_s=self.slo.lag_s,
                has_newer=has_newer,
            ):
                break
            self.num_lost += 1
            self._shed("late", self._mailbox.popleft())
        if not self._mailbox:
            return None
        count = 2 if self.quality.is_paired and 1 / self._fps <= self._pair_gap_s else 1
        waited_s = now_s - self._mailbox[0]
        if len(self._mailbox) < count and waited_s < self._pair_gap_s:
            return None  # its partner is on the way
        frames = [self._mailbox.popleft() for _ in range(min(count, len(self._mailbox)))]
        self.in_flight = frames
        return frames

    def seen(self) -> None:
        """Note that the clip in flight has been prefilled."""
        self.in_flight = None

    @property
    def _pair_gap_s(self) -> float:
        return max(PAIR_GAP_S, min(2 * PAIR_GAP_S, 0.6 * self.slo.lag_s))

    @property
    def demand(self) -> Demand:
        """What the stream offers."""
        return Demand(self._fps, PAIR_GAP_S, self._pair_gap_s)
