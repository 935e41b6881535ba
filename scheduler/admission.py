"""Whom to let in: by what would come of it, not by a count."""

import math
from dataclasses import dataclass
from enum import StrEnum

from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.quality import RUNGS
from onlooker.scheduler.room import Room
from onlooker.scheduler.slo import Slo

LEAST_FREE_RATIO = 0.02
"""Free share of KV or encoder memory below which nothing is begun: it would push others out."""

LEAST_RETRY_S = 0.5

LOWEST_SHARE = RUNGS[-1].fps_share * (0.5 if RUNGS[-1].is_paired else 1.0)
"""Share of a stream's work that is left of it on the lowest rung."""


class Verdict(StrEnum):
    ADMIT = "admit"
    DEGRADE = "degrade"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a question or a stream that asks to come in."""

    verdict: Verdict
    reason: str = ""
    retry_after_s: float = 0.0


ADMITTED = Decision(Verdict.ADMIT)


class Admission:
    """Decides on questions and streams.

    Args:
        target_load: share of the engine's time that streams may take, all on the lowest rung.
        refuse_after: a question is refused when its first token is predicted later than so many
            times its target; from half of that on it is admitted with less to look at.
    """

    def __init__(self, *, target_load: float, refuse_after: float) -> None:
        self._target_load = target_load
        self._refuse_after = refuse_after

    def question(
        self, load: EngineLoad, slo: Slo, *, num_ahead: int = 0, has_pictures: bool = False
    ) -> Decision:
        """Decide on a question. `num_ahead`: questions that were admitted and are not yet known to
        the engine."""
        if load.kv_free_ratio < LEAST_FREE_RATIO:
            return _refused("the engine's memory is full", LEAST_RETRY_S)
        if has_pictures and load.encoder_free_ratio < LEAST_FREE_RATIO:
            return _refused("no place is free to look at more pictures", LEAST_RETRY_S)
        predicted_s = load.question_wait_s + (num_ahead + 1) * load.question_s
        limit_s = self._refuse_after * slo.ttft_s
        reason = f"the first word is predicted after {predicted_s:.1f} s"
        if predicted_s > limit_s:
            return _refused(reason, predicted_s - limit_s)
        return Decision(Verdict.DEGRADE, reason) if predicted_s > limit_s / 2 else ADMITTED

    def stream(
        self, load: EngineLoad, *, clips_per_s: float, others_clips_per_s: float, retry_s: float
    ) -> Decision:
        """Decide on a stream.

        Args:
            clips_per_s: clips a second that it would bring at full quality.
            others_clips_per_s: clips a second that all others bring at full quality.
            retry_s: seconds until the next place may be free, as far as anybody knows.
        """
        at_full = load.clip_s * (clips_per_s + others_clips_per_s) + load.others_ratio
        if at_full <= self._target_load:
            return ADMITTED
        at_lowest = at_full * LOWEST_SHARE
        if at_lowest <= self._target_load:
            return Decision(Verdict.DEGRADE, f"all streams together need {at_full:.0%} of it")
        return _refused(f"streams would need {at_lowest:.0%} of the engine at least", retry_s)

    def room(
        self,
        load: EngineLoad,
        *,
        clips_per_s: float,
        others_clips_per_s: float,
        forecast: float,
        num_streams: int,
        max_streams: int,
    ) -> Room:
        """What is free, as far as `stream` would let in more.

        Args:
            clips_per_s: clips a second that one more stream would bring at full quality.
            others_clips_per_s: clips a second that all streams bring at full quality.
            forecast: the load that they are predicted to bring at full quality; 1 is all that can
                be done.
            num_streams: how many are open, of the `max_streams` that may be.
        """
        places = max(0, max_streams - num_streams)
        at_full = load.clip_s * others_clips_per_s + load.others_ratio
        fits = places
        if (one := load.clip_s * clips_per_s) > 0:
            fits = math.floor((self._target_load / LOWEST_SHARE - at_full) / one)
        free = 1 - max(at_full, forecast) / self._target_load
        return Room(min(free, places / max_streams), max(0, min(places, fits)))


def _refused(reason: str, retry_after_s: float) -> Decision:
    return Decision(Verdict.REFUSE, reason, max(LEAST_RETRY_S, retry_after_s))
