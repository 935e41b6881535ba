"""`StreamService`: how one stream is served now: its targets, its rung of quality, its requests."""

import zlib
from collections.abc import Callable

from onlooker.core.clock import Clock
from onlooker.core.media import Clip
from onlooker.engine.care import Care
from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.forecast import Demand
from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.quality import Quality
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.shedding import is_too_late
from onlooker.scheduler.slo import Tier
from onlooker.scheduler.ticket import Ticket
from onlooker.streams.perception.sampler import Sampler

DEGRADED_MEMORY_SHARE = 0.5
"""Share of the retrieved clips that a question gets which is let in although it will be late."""

MOST_PAIR_LAG = 0.6
"""Share of the lag target that a frame may wait for its partner."""

LEAST_SOURCE_FPS = 0.1


class StreamService:
    """One live stream's service. Made by the `Governor`, which changes its quality."""

    def __init__(
        self,
        stream_id: str,
        *,
        section: SchedulerSection,
        tier: Tier,
        clock: Clock,
        load: Callable[[], EngineLoad],
        interval_s: float,
        max_pair_gap_s: float,
        quality: Quality,
    ) -> None:
        self.stream_id = stream_id
        self.tier = tier
        self.slo = section.slo(tier)
        self.is_governed = section.policy == "slo"
        """Whether quality, shedding and admission apply."""
        self._section = section
        self._clock = clock
        self._load = load
        self._base_interval_s = interval_s
        self._base_gap_s = max_pair_gap_s
        self._sampler: Sampler | None = None
        self._phase = zlib.crc32(stream_id.encode()) / 2**32
        self._full_fps = 1 / interval_s
        self._knows_fps = False
        self._ingest_s = 0.0
        self.num_awaited = 0
        """Questions that wait for frames to be seen: those are as urgent as they."""
        self.quality = Quality()
        self.set_quality(quality, source_fps=0.0)

    @property
    def full_fps(self) -> float:
        """Frames a second that are looked at when nothing is degraded."""
        return self._full_fps

    def demand(self, source_fps: float) -> Demand:
        """What the stream offers, where `source_fps` frames a second come in; 0: none so far."""
        fps = min(self._wanted_fps, source_fps) if source_fps > 0 else self._guessed_fps
        if self.quality.fps_share < 1.0 and self._knows_fps:
            fps = self._full_fps  # what comes in is less where the source was told to send less
        return Demand(fps, self._base_gap_s, self._long_gap_s)

    @property
    def _wanted_fps(self) -> float:
        return 1 / self._base_interval_s

    @property
    def _guessed_fps(self) -> float:
        """Of a source that has sent nothing: a frame for each clip of two."""
        return self._wanted_fps / 2

    @property
    def interval_s(self) -> float:
        """Stream time between two frames that are looked at, on the mean."""
        if self.quality.fps_share == 1.0:
            return self._base_interval_s
        fps = self._full_fps if self._knows_fps else self._guessed_fps
        return 1 / (fps * self.quality.fps_share)

    @property
    def pair_gap_s(self) -> float:
        """How long a frame may wait for its partner."""
        if not self.quality.is_paired:
            return self._base_gap_s
        gap_s = 2 * self._base_gap_s / self.quality.fps_share
        return max(self._base_gap_s, min(gap_s, MOST_PAIR_LAG * self.slo.lag_s))

    @property
    def comes_in_twos(self) -> bool:
        """Whether frames are picked two at a time, and then none: so they still make a clip."""
        return self.quality.is_paired and self.quality.fps_share < 1.0

    @property
    def _long_gap_s(self) -> float:
        """Longest gap between two frames that quality puts into one clip."""
        return max(self._base_gap_s, min(2 * self._base_gap_s, MOST_PAIR_LAG * self.slo.lag_s))

    def set_quality(self, quality: Quality, *, source_fps: float) -> None:
        """Take a rung. `source_fps`: what comes in, which is what a share of it is taken from."""
        if source_fps > 0 and (self.quality.fps_share == 1.0 or not self._knows_fps):
            # What the source sends unasked; it may slow down later because it was told to.
            self._full_fps = min(self._wanted_fps, max(LEAST_SOURCE_FPS, source_fps))
            self._knows_fps = True
        self.quality = quality
        self._sampler = None
        if quality.fps_share < 1.0:
            # Streams change rungs together, and would be looked at together but for their phases.
            burst = 2 if self.comes_in_twos else 1
            self._sampler = Sampler(self.interval_s, burst=burst, phase=self._phase)

    @property
    def must_learn_fps(self) -> bool:
        """Whether a share is taken of a rate that is only guessed. The source is not told to send
        less until it is known."""
        return self.quality.fps_share < 1.0 and not self._knows_fps

    def keeps(self, capture_s: float) -> bool:
        """Whether a frame stays in at this quality; the others are dropped unread."""
        return self._sampler is None or self._sampler.pick(capture_s)

    def is_too_late(self, *, age_s: float, has_newer: bool, num_ahead: int = 0) -> bool:
        """Whether a frame that waited so long should give way, before it is decoded. `num_ahead`:
        the stream's own clips that the model has not seen."""
        if not self.is_governed:
            return False
        ahead_s = self._ahead_s(num_ahead)
        return is_too_late(age_s=age_s, ahead_s=ahead_s, lag_s=self.slo.lag_s, has_newer=has_newer)

    def should_hold(self, num_ahead: int) -> bool:
        """Whether the next frame had better wait in the mailbox, where a newer one takes its place,
        until the clip before it is seen: behind so many it would be seen late."""
        return self.is_governed and num_ahead > 0 and self._ahead_s(num_ahead) > self.slo.lag_s / 2

    def _ahead_s(self, num_ahead: int) -> float:
        """Predicted time until a frame that is looked at now has been seen."""
        load = self._load()
        # The engine knows what waits now; what the last clips took lags behind it. Nobody but the
        # clips themselves knows what the gateway's part of the way takes.
        told_s = load.frame_wait_s + load.clip_s if load.clip_s else 0.0
        return max(told_s, self._ingest_s) * (num_ahead + 1)

    def note_ingest(self, took_s: float) -> None:
        """A clip took so long from its hand-over to its end of prefill."""
        self._ingest_s += 0.3 * (took_s - self._ingest_s)

    def clip_care(self, clip: Clip) -> Care:
        """How a clip is served: due when its older frame is, urgent where a question waits."""
        arrived_at_s = clip.frames[0].received_at_s
        name, due_at_s = RequestClass.INGEST, arrived_at_s + self.slo.lag_s
        if self.is_governed and self.num_awaited:
            name = RequestClass.QUESTION
            due_at_s = min(due_at_s, self._clock.now_s() + self.slo.ttft_s / 2)
        ticket = Ticket(name, arrived_at_s, due_at_s, self.slo.tpot_s, self.stream_id, self.tier)
        return Care(ticket, self.quality.memory_share)

    def question_care(
        self, arrived_at_s: float, tier: Tier | None, *, is_degraded: bool = False
    ) -> Care:
        """How a question is served; its own tier counts, where it has one."""
        tier = tier or self.tier
        slo = self._section.slo(tier)
        ticket = Ticket(
            RequestClass.QUESTION,
            arrived_at_s,
            arrived_at_s + slo.ttft_s,
            slo.tpot_s,
            self.stream_id,
            tier,
        )
        share = self.quality.memory_share
        return Care(ticket, min(share, DEGRADED_MEMORY_SHARE) if is_degraded else share)
