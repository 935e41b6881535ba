"""`StreamQuality`: how one stream is served now: its targets, its rung of quality, its requests."""

import contextlib
import zlib
from collections.abc import Callable, Iterator

from onlooker.core.ids import split_stream_id
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
from onlooker.streams.events import PaceChanged
from onlooker.streams.perception.pacing import Pacing
from onlooker.streams.perception.sampler import Sampler
from onlooker.streams.quality.pace import PaceAdvisor
from onlooker.streams.quality.strain import Strain
from onlooker.streams.shared import Shared
from onlooker.streams.state import StreamTerms

DEGRADED_MEMORY_SHARE = 0.5
"""Share of the recent window and of the retrieved clips that a question gets which is let in
although it will be late."""

MOST_PAIR_LAG = 0.6
"""Share of the lag target that a frame may wait for its partner."""

LEAST_SOURCE_FPS = 0.1


class StreamQuality:
    """One stream's quality. Made by the `Governor`, which changes its rung.

    Args:
        load: returns how busy the engine is.
        publish: tells the stream's viewers, its source among them.
    """

    def __init__(
        self,
        terms: StreamTerms,
        shared: Shared,
        *,
        section: SchedulerSection,
        load: Callable[[], EngineLoad],
        publish: Callable[[PaceChanged], None],
    ) -> None:
        self.stream_id = terms.stream_id
        self.tenant, _ = split_stream_id(terms.stream_id)
        self.token_drop = terms.token_drop
        self.compaction = terms.compaction
        self.tier = terms.tier or Tier(section.default_tier)
        self.slo = section.slo(self.tier)
        self.is_governed = section.policy == "slo" and terms.is_live
        """Whether rungs, shedding and admission apply. On the virtual clock nothing gives way."""
        self._section, self._clock, self._load = section, shared.clock, load
        self._is_live, self._publish = terms.is_live, publish
        self._is_imported = not terms.is_live and terms.zero_wall_s is not None
        self._base_interval_s, self._wanted_fps = terms.interval_s, 1 / terms.interval_s
        self._full_fps, self._knows_fps = self._wanted_fps, False
        self._base_gap_s = shared.settings.perception.max_pair_gap_s
        self._phase = zlib.crc32(terms.stream_id.encode()) / 2**32
        self._sampler: Sampler | None = None
        self._ingest_s = 0.0
        self._num_awaited = 0
        self.rung = Quality()
        """The rung on which the stream is."""
        self._pacing: Pacing | None = None
        """As it is at this rung, once it was asked for."""
        self._demand: Demand | None = None
        """As it was told last."""
        info = shared.engine.info
        self._pace = PaceAdvisor(
            fps=self._wanted_fps,
            width=info.frame_width,
            height=info.frame_height,
            max_lag_s=shared.settings.max_lag_s,
        )

    # ---- the rung

    @property
    def pace(self) -> PaceChanged:
        """What the source is asked to send now."""
        return self._pace.current

    def begin(self, rung: Quality) -> None:
        """Tell what the source is asked to send, and take the first rung."""
        self._publish(self.pace)
        if rung.level:
            self.take(rung, Strain())

    def take(self, rung: Quality, strain: Strain) -> None:
        """Take a rung, and tell the source. `strain`: how the stream fares; a rung looks at its
        share of the frames that come in."""
        source_fps = strain.source_fps
        if source_fps > 0 and (self.rung.fps_share == 1.0 or not self._knows_fps):
            # What the source sends unasked; it may slow down later because it was told to.
            self._full_fps = min(self._wanted_fps, max(LEAST_SOURCE_FPS, source_fps))
            self._knows_fps = True
        self.rung, self._pacing = rung, None
        self._sampler = None
        if rung.fps_share < 1.0:
            # Streams change rungs together, and would be looked at together but for their phases.
            burst = 2 if self._comes_in_twos else 1
            self._sampler = Sampler(self._interval_s, burst=burst, phase=self._phase)
        if not self.must_learn_fps:
            self._tell(self._pace.set_quality(rung, self._full_fps, strain.lag_s))

    def _tell(self, wish: PaceChanged | None) -> None:
        if wish is not None:
            self._publish(wish)

    @property
    def must_learn_fps(self) -> bool:
        """Whether a share is taken of a rate that is only guessed. The source is not told to send
        less until it is known."""
        return self.rung.fps_share < 1.0 and not self._knows_fps

    def demand(self, source_fps: float) -> Demand:
        """What the stream offers, where `source_fps` frames a second come in; 0: none so far. The
        same object until that changes."""
        fps = min(self._wanted_fps, source_fps) if source_fps > 0 else self._guessed_fps
        if self.rung.fps_share < 1.0 and self._knows_fps:
            fps = self._full_fps  # what comes in is less where the source was told to send less
        if self._demand is None or self._demand.fps != fps:
            longest_gap_s = max(self._base_gap_s, min(2 * self._base_gap_s, self._most_gap_s))
            self._demand = Demand(fps, self._base_gap_s, longest_gap_s)
        return self._demand

    # ---- frames

    @property
    def pacing(self) -> Pacing:
        """How frames are picked and paired at this rung; the same object until that changes."""
        if self._pacing is None:
            self._pacing = self._paced()
        return self._pacing

    def _paced(self) -> Pacing:
        gap_s = self._base_gap_s
        if self.rung.is_paired:
            gap_s = max(gap_s, min(2 * gap_s / self.rung.fps_share, self._most_gap_s))
        return Pacing(self._interval_s, gap_s, self._comes_in_twos)

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

    def note_seen(self, *, lag_s: float, took_s: float) -> None:
        """A clip was seen: `took_s` after its hand-over, `lag_s` after its last frame came in."""
        self._ingest_s += 0.3 * (took_s - self._ingest_s)
        if self._is_live and not self.is_governed:
            self._tell(self._pace.note_lag(lag_s, self._clock.now_s()))

    # ---- requests

    @contextlib.contextmanager
    def awaiting(self) -> Iterator[None]:
        """While the block runs a question waits for frames to be seen: they are as urgent as it."""
        self._num_awaited += 1
        try:
            yield
        finally:
            self._num_awaited -= 1

    def clip_care(self, clip: Clip) -> Care:
        """How a clip is served: due when its older frame is, urgent where a question waits. Clips
        of a recording that was made before give way to all that is live."""
        arrived_at_s = clip.frames[0].received_at_s
        name, due_at_s = RequestClass.INGEST, arrived_at_s + self.slo.lag_s
        if self._is_imported and not self._num_awaited:
            name = RequestClass.BACKGROUND
        if self.is_governed and self._num_awaited:
            name = RequestClass.QUESTION
            due_at_s = min(due_at_s, self._clock.now_s() + self.slo.ttft_s / 2)
        ticket = Ticket(name, arrived_at_s, due_at_s, self.slo.tpot_s, self.stream_id, self.tier)
        rung = self.rung
        return Care(
            ticket, rung.memory_share, self.token_drop, self.compaction, is_thinned=rung.is_thinned
        )

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
        share = self.rung.memory_share
        return Care(ticket, min(share, DEGRADED_MEMORY_SHARE) if is_degraded else share)

    @property
    def _guessed_fps(self) -> float:
        """Frames a second assumed of a source that has sent nothing: one for each clip."""
        return self._wanted_fps / 2

    @property
    def _interval_s(self) -> float:
        """Stream time between two frames that are looked at, on the mean."""
        if self.rung.fps_share == 1.0:
            return self._base_interval_s
        fps = self._full_fps if self._knows_fps else self._guessed_fps
        return 1 / (fps * self.rung.fps_share)

    @property
    def _comes_in_twos(self) -> bool:
        """Whether frames are picked two at a time, and then none."""
        return self.rung.is_paired and self.rung.fps_share < 1.0

    @property
    def _most_gap_s(self) -> float:
        """The longest time in seconds that a frame is made to wait for its partner."""
        return MOST_PAIR_LAG * self.slo.lag_s
