"""What load a choice of rungs would bring: demand times what things were found to cost.

The ladder looks ahead with it, as ApproxDet (SenSys '20) chooses a branch from a latency model. A
load is the share in use of whatever is in shortest supply: the engine's steps, or the gateway's one
thread.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from onlooker.scheduler.gateway_meter import CLIP_S, LOOKED_S, OFFERED_S, GatewayMeter
from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.quality import Quality

LEAST_STEPS = 50
"""Measured steps after which the engine's costs are more than a guess."""

MOST_ERROR = 1.0
"""Mean relative error of predicted steps above which predictions say nothing."""

SHARE_WEIGHT = 0.1
"""Weight of the newest tick in the mean share of memory that contexts show."""


class Demand(msgspec.Struct, frozen=True):
    """What one stream offers, whatever becomes of it."""

    fps: float = 0.0
    """Frames a second that would be looked at on the first rung."""
    gap_s: float = 0.75
    """Longest gap in seconds between two frames that share a clip at any quality."""
    pair_gap_s: float = 1.5
    """Longest gap in seconds between two frames that share a clip where quality pairs them."""

    def work(self, quality: Quality) -> "Work":
        """The work a second that is left of it on a rung."""
        clips = quality.clips_per_s(self.fps, gap_s=self.gap_s, pair_gap_s=self.pair_gap_s)
        return Work(self.fps, self.fps * quality.fps_share, clips, clips * quality.memory_share)


class Work(msgspec.Struct, frozen=True):
    """Work of streams, in counts a second."""

    offered: float = 0.0
    """Frames that come in."""
    looked: float = 0.0
    """Frames that are decoded and compared."""
    clips: float = 0.0
    contexts: float = 0.0
    """Clips, each counted as the share of the whole memory that its context shows."""

    @classmethod
    def of_all(cls, each: Iterable["Work"]) -> "Work":
        """What several are together; added up one by one: there may be a thousand."""
        offered = looked = clips = contexts = 0.0
        for one in each:
            offered += one.offered
            looked += one.looked
            clips += one.clips
            contexts += one.contexts
        return cls(offered, looked, clips, contexts)

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.offered + other.offered,
            self.looked + other.looked,
            self.clips + other.clips,
            self.contexts + other.contexts,
        )

    def __sub__(self, other: "Work") -> "Work":
        return Work(
            self.offered - other.offered,
            self.looked - other.looked,
            self.clips - other.clips,
            self.contexts - other.contexts,
        )


@dataclass(frozen=True, slots=True)
class Prices:
    """What work costs: seconds of the engine, and of the gateway's thread."""

    clip_s: float
    """Engine seconds of a clip, but for its context."""
    context_s: float = 0.0
    """Engine seconds to bring back the whole context of a clip."""
    gateway_offered_s: float = 0.0
    gateway_looked_s: float = 0.0
    gateway_clip_s: float = 0.0
    engine_rest: float = 0.0
    """Load of the engine that is not made by these streams' frames but by questions, by checks and
    by the streams of other gateways."""
    gateway_rest: float = 0.0

    def load(self, work: Work) -> float:
        """The load that `work` would bring; 1 is all that can be done."""
        engine = self.engine_rest + work.clips * self.clip_s + work.contexts * self.context_s
        gateway = (
            self.gateway_rest
            + work.offered * self.gateway_offered_s
            + work.looked * self.gateway_looked_s
            + work.clips * self.gateway_clip_s
        )
        return max(engine, gateway)


class Pricing:
    """Makes prices of what engine and gateway tell.

    Args:
        most_rest: the load that engine and gateway do not spend on frames counts at most so much.
    """

    def __init__(self, *, most_rest: float) -> None:
        self._most_rest = most_rest
        self._context_share = 1.0

    def prices(
        self, load: EngineLoad, shown: Work, gateway: GatewayMeter | None = None
    ) -> Prices | None:
        """The prices found out so far; None while the engine has told too little.

        Args:
            shown: the streams' work as they stand now, which is what `load` was measured with.
            gateway: None stands for a gateway that takes no time.
        """
        share = shown.contexts / shown.clips if shown.clips else 1.0
        # What is measured follows a fall with a delay. An estimate that is too low for a while is
        # corrected by the next; one that is too high would make quality fall further than it must.
        self._context_share += SHARE_WEIGHT * (share - self._context_share)
        if load.num_steps < LEAST_STEPS or load.cost_error_ratio > MOST_ERROR or not load.clip_s:
            return None
        factor = 0.0 if gateway is None else gateway.factor
        gateway_rest = 0.0 if gateway is None else gateway.rest
        return Prices(
            clip_s=max(0.0, load.clip_s - load.context_s) / load.room_ratio,
            context_s=load.context_s / max(share, self._context_share, 0.1) / load.room_ratio,
            gateway_offered_s=factor * OFFERED_S,
            gateway_looked_s=factor * LOOKED_S,
            gateway_clip_s=factor * CLIP_S,
            # What other gateways' streams take is no less taken than what questions take.
            engine_rest=min(self._most_rest, max(0.0, load.load_ratio - load.frames_ratio))
            + load.others_ratio,
            gateway_rest=min(self._most_rest, gateway_rest),
        )
