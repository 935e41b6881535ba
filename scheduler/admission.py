"""Whom to let in: by what would come of it, not by a count."""

from dataclasses import dataclass
from enum import StrEnum

from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.quality import RUNGS
from onlooker.scheduler.slo import Slo

LEAST_FREE_RATIO = 0.02
"""Free share of KV or encoder memory below which nothing is begun: it would push others out."""

LEAST_RETRY_S = 0.5


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
        at_full = load.clip_s * (clips_per_s + others_clips_per_s)
        if at_full <= self._target_load:
            return ADMITTED
        lowest = RUNGS[-1]
        at_lowest = at_full * lowest.fps_share * (0.5 if lowest.is_paired else 1.0)
        if at_lowest <= self._target_load:
            return Decision(Verdict.DEGRADE, f"all streams together need {at_full:.0%} of it")
        return _refused(f"streams would need {at_lowest:.0%} of the engine at least", retry_s)


def _refused(reason: str, retry_after_s: float) -> Decision:
    return Decision(Verdict.REFUSE, reason, max(LEAST_RETRY_S, retry_after_s))
