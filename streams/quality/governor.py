"""`Governor`: the gateway's half of scheduling. Lets in, lowers and raises quality, tells metrics.

The policy itself is in `onlooker.scheduler`; here it meets the streams.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from onlooker.core.errors import NoRoom, Overloaded
from onlooker.scheduler.admission import Admission, Decision, Verdict
from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.forecast import Prices, Pricing
from onlooker.scheduler.gateway_meter import GatewayMeter, GatewayWork
from onlooker.scheduler.ladder import Ladder
from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.quality import RUNGS, Quality
from onlooker.scheduler.room import Room
from onlooker.scheduler.slo import Tier
from onlooker.streams.events import PaceChanged
from onlooker.streams.quality.strain import Strain
from onlooker.streams.quality.stream_quality import StreamQuality
from onlooker.streams.shared import Shared
from onlooker.streams.state import StreamTerms

_NO_STRAIN = Strain()

GOVERN_S = 0.25
"""Seconds between two ticks."""

LATE_WEIGHT = 0.3
"""Weight of the newest tick in the running mean of how late ticks are."""

DROPPING_LOAD = 1.5
"""The load that a stream shows whose frames were lost because the model was behind."""


class Governed(Protocol):
    """What the governor must know of a stream."""

    @property
    def quality(self) -> StreamQuality: ...

    def strain(self) -> Strain:
        """How the stream fares now."""
        ...


class Governor:
    """Lets in streams and questions, and moves streams on the quality ladder; one per hub.

    Args:
        busy_s: returns the seconds for which the calling thread has been busy so far.
    """

    def __init__(
        self,
        section: SchedulerSection,
        shared: Shared,
        *,
        busy_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self._section, self._shared = section, shared
        self._clock, self._metrics = shared.clock, shared.metrics
        self._load = shared.engine.load
        self._admission = Admission(
            target_load=section.target_load, refuse_after=section.refuse_after
        )
        self._ladder = Ladder(
            target_load=section.target_load,
            step_down_s=section.step_down_s,
            step_up_s=section.step_up_s,
        )
        self._streams: dict[str, Governed] = {}
        self._gateway = GatewayMeter()
        self._pricing = Pricing(most_rest=section.most_rest)
        self._prices: Prices | None = None
        """As the newest tick found them out."""
        self._busy_s = busy_s
        self._ticked_at_s = -math.inf
        self._ticked_busy_s = 0.0
        self._strains: dict[str, Strain] = {}
        """How each governed stream fared at the newest tick, by stream id."""
        self._num_asked = 0
        self._late_s = 0.0

    @property
    def is_on(self) -> bool:
        """Whether the policy governs at all."""
        return self._section.policy == "slo"

    @property
    def load_ratio(self) -> float:
        """Share in use of what is in shortest supply: the engine, or the gateway's one thread."""
        return max(self._load().load_ratio, self._gateway.load_ratio)

    # ---- streams

    def serve(self, terms: StreamTerms, publish: Callable[[PaceChanged], None]) -> StreamQuality:
        """The quality of a stream that is being opened; `publish` tells its viewers."""
        quality = StreamQuality(
            terms, self._shared, section=self._section, load=self._load, publish=publish
        )
        rung = Quality()
        if quality.is_governed:
            rung = self._ladder.join(
                terms.stream_id, quality.tier, quality.tenant, quality.demand(0.0)
            )
        quality.begin(rung)
        return quality

    def join(self, stream: Governed) -> None:
        """Govern a stream that is open now, if its quality is governed."""
        if stream.quality.is_governed:
            self._streams[stream.quality.stream_id] = stream

    def leave(self, stream_id: str) -> None:
        """Stop governing a stream that is closed; unknown ones are ignored."""
        self._streams.pop(stream_id, None)
        self._strains.pop(stream_id, None)
        self._ladder.leave(stream_id)

    def admit_stream(self, clips_per_s: float) -> None:
        """Let a stream in.

        Raises:
            NoRoom: not even the lowest quality for all would do.
        """
        if not self.is_on:
            return
        others = self._ladder.work(0).clips
        decision = self._admission.stream(
            self._load(),
            clips_per_s=clips_per_s,
            others_clips_per_s=others,
            retry_s=self._section.step_up_s,
        )
        self._note("stream", decision)

    def room(self, clips_per_s: float, *, num_streams: int, max_streams: int) -> Room:
        """What could still be let in, by the forecast that lets in. `clips_per_s`: what one more
        stream would bring."""
        wanted, prices = self._ladder.work(0), self._prices
        forecast = self._gateway.load_ratio if prices is None else prices.load(wanted)
        if not self.is_on:
            forecast = self.load_ratio
        return self._admission.room(
            self._load() if self.is_on else EngineLoad(),  # else nobody is refused
            clips_per_s=clips_per_s,
            others_clips_per_s=wanted.clips,
            forecast=forecast,
            num_streams=num_streams,
            max_streams=max_streams,
        )

    def admit_question(
        self, quality: StreamQuality, tier: Tier | None, *, num_ahead: int, has_pictures: bool
    ) -> bool:
        """Let a question in; returns whether it is to have less to look at.

        `num_ahead`: questions that were let in and have not had their first word.

        Raises:
            Overloaded: its first word would come far too late.
        """
        if not quality.is_governed:
            return False
        self._num_asked += 1
        decision = self._admission.question(
            self._load(),
            self._section.slo(tier or quality.tier),
            num_ahead=num_ahead,
            has_pictures=has_pictures,
        )
        self._note("question", decision)
        return decision.verdict is Verdict.DEGRADE

    def _note(self, kind: str, decision: Decision) -> None:
        self._metrics.admissions.labels(kind, decision.verdict.value).inc()
        if decision.verdict is Verdict.REFUSE:
            refusal = NoRoom if kind == "stream" else Overloaded
            raise refusal(
                f"the server is overloaded: {decision.reason}; try again in "
                f"{decision.retry_after_s:.1f} s",
                retry_after_s=decision.retry_after_s,
            )

    # ---- quality

    def tick(self) -> None:
        """Look at the load, and move streams on the ladder. Call it every `GOVERN_S`."""
        load = self._load()
        self._metrics.engine_busy.set(load.busy_ratio)
        self._metrics.engine_load.set(load.load_ratio)
        self._metrics.cost_error.set(load.cost_error_ratio)
        self._metrics.scheduler_fallback.set(int(load.has_fallen_back))
        if not self.is_on:
            return
        now_s = self._clock.now_s()
        before, strains = self._strains, {name: one.strain() for name, one in self._streams.items()}
        self._strains = strains
        self._note_gateway(now_s, before)
        for stream_id, strain in strains.items():
            quality = self._streams[stream_id].quality
            self._ladder.note_demand(stream_id, quality.demand(strain.source_fps))
            if quality.must_learn_fps and strain.source_fps:
                quality.take(quality.rung, strain)
        self._prices = self._pricing.prices(load, self._ladder.work(), self._gateway)
        changed = self._ladder.update(
            self._pressure(load, before),
            now_s,
            backlog=sum(strain.num_unseen for strain in strains.values()),
            prices=self._prices,
        )
        for stream_id, rung in changed.items():
            if (governed := self._streams.get(stream_id)) is not None:
                governed.quality.take(rung, strains[stream_id])
        levels = self._ladder.levels()
        for rung in RUNGS:
            self._metrics.streams_at_level.labels(str(rung.level)).set(levels[rung.level])

    def _note_gateway(self, now_s: float, before: Mapping[str, Strain]) -> None:
        """Measure what the gateway's thread has spent since the last tick, and on what."""
        offered = looked = clips = 0  # summed up one by one: there may be a thousand streams
        for stream_id, strain in self._strains.items():
            work, earlier = strain.work, before.get(stream_id, _NO_STRAIN).work
            offered += work.offered - earlier.offered
            looked += work.looked - earlier.looked
            clips += work.clips - earlier.clips
        work = GatewayWork(offered, looked, clips, questions=self._num_asked)
        self._num_asked = 0
        passed_s, busy_s = now_s - self._ticked_at_s, self._busy_s()
        if math.isfinite(passed_s):
            self._gateway.note(work, busy_s - self._ticked_busy_s, passed_s)
            self._late_s += LATE_WEIGHT * (max(0.0, passed_s - GOVERN_S) - self._late_s)
        self._ticked_at_s, self._ticked_busy_s = now_s, busy_s
        self._metrics.gateway_load.set(self._gateway.load_ratio)

    def _pressure(self, load: EngineLoad, before: Mapping[str, Strain]) -> float:
        """The load, of which 1 is all that can be done: as the engine and the gateway measure it,
        or as the streams have to suffer it, whichever is more."""
        suffered: dict[str, list[float]] = {}
        for stream_id, strain in self._strains.items():
            quality = self._streams[stream_id].quality
            suffered.setdefault(quality.tenant, []).append(
                DROPPING_LOAD
                if strain.num_lost > before.get(stream_id, _NO_STRAIN).num_lost
                else strain.behind_s / quality.slo.lag_s
            )
        worst = _shared(list(suffered.values()))
        late = self._late_s / (self._section.interactive.ttft_s / 2)
        return max(load.load_ratio, self._gateway.streams_ratio, late, worst)


def _shared(suffered: list[list[float]]) -> float:
    """What is suffered by so many that it is the server's trouble, of what each tenant's streams
    suffer: one stream's own trouble is not the server's, nor is one tenant's among several."""
    of_tenants = sorted(sorted(loads)[len(loads) * 3 // 4] for loads in suffered)
    return of_tenants[(len(of_tenants) - 1) // 2] if of_tenants else 0.0
