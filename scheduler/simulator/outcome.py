"""What came of a simulation."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which `share` (0-1) of `values` lie; None where there are none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index: 1 when all have the same, 1/n when one has all."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def rounded_percentile(values: Sequence[float], share: float) -> float | None:
    """The same, as figures tell it."""
    found = percentile(values, share)
    return None if found is None else round(found, 4)


@dataclass(slots=True)
class SimulationOutcome:
    """Counts and times of all requests that arrived after the warm-up."""

    seconds: float = 0.0
    asked: int = 0
    refused: int = 0
    unanswered: int = 0
    """Questions that were late and still waiting or running at the end."""
    good_answers: int = 0
    """Answers that met TTFT and TPOT."""
    ttft_met: int = 0
    ttft_s: list[float] = field(default_factory=list)
    tpot_s: list[float] = field(default_factory=list)
    offered: int = 0
    """Frames that came in."""
    in_time: int = 0
    """Frames seen within the lag target."""
    lag_s: list[float] = field(default_factory=list)
    shed: Counter[str] = field(default_factory=Counter)
    seen_by_stream: Counter[int] = field(default_factory=Counter)
    levels: list[int] = field(default_factory=list)
    """Rung of each stream at the end."""
    busy_s: float = 0.0
    num_steps: int = 0

    @property
    def goodput(self) -> float:
        """Answers a second that met all their targets."""
        return self.good_answers / max(1e-9, self.seconds)

    @property
    def answers_in_time(self) -> float:
        """Share of what was asked that met TTFT and TPOT; a refusal has not."""
        return self.good_answers / max(1, self.asked)

    @property
    def frames_in_time(self) -> float:
        """Share of what was offered that was kept and seen within the lag target."""
        return self.in_time / max(1, self.offered)

    def figures(self) -> dict[str, Any]:
        """The outcome in figures, as plain data; a latency is None where nothing was served."""
        return {
            "goodput_per_s": round(self.goodput, 3),
            "answers_in_time": round(self.answers_in_time, 4),
            "frames_in_time": round(self.frames_in_time, 4),
            "refused": self.refused,
            "ttft_p50_s": rounded_percentile(self.ttft_s, 0.5),
            "ttft_p99_s": rounded_percentile(self.ttft_s, 0.99),
            "tpot_p99_s": rounded_percentile(self.tpot_s, 0.99),
            "lag_p50_s": rounded_percentile(self.lag_s, 0.5),
            "lag_p99_s": rounded_percentile(self.lag_s, 0.99),
            "fairness": round(jain(list(self.seen_by_stream.values())), 4),
            "mean_level": round(sum(self.levels) / max(1, len(self.levels)), 2),
            "busy": round(self.busy_s / max(1e-9, self.seconds), 3),
            "shed": dict(self.shed),
        }
