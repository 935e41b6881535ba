"""What watches cost beside the ingest that goes on anyway."""

from dataclasses import dataclass
from typing import Any

from onlooker.benchmarks.cpu import Cost
from onlooker.benchmarks.measured import MeasuredWork


@dataclass(frozen=True, slots=True)
class CostPart:
    """The work and the cost of one stretch of a run."""

    work: MeasuredWork
    cost: Cost

    @property
    def cpu_per_clip_s(self) -> float:
        return self.cost.cpu_s / max(1, len(self.work.ingest_s))


def cost_figures(part: CostPart, base_s: float) -> dict[str, Any]:
    """Tokens and CPU time of a run, and its surplus over the bare ingest, which takes `base_s` of
    CPU time a clip."""
    work = part.work
    clips, checks, answers = max(1, len(work.ingest_s)), len(work.check_s), len(work.answer_s)
    ingest = work.ingest_tokens - work.ingest_cached_tokens
    check = work.check_tokens - work.check_cached_tokens
    answer = work.answer_tokens - work.answer_cached_tokens + work.output_tokens
    return {
        "clips": len(work.ingest_s),
        "checks": checks,
        "checks_per_clip": round(checks / clips, 3),
        "answers": answers,
        "answers_per_clip": round(answers / clips, 3),
        "computed_tokens_per_clip": round(ingest / clips, 2),
        "tokens_per_check": round(check / max(1, checks), 2),
        "tokens_per_answer": round(answer / max(1, answers), 2),
        "cpu_ms_per_clip": round(1000 * part.cpu_per_clip_s, 2),
        "cost_share": round(part.cpu_per_clip_s / base_s - 1, 4),
        "cost_share_of_tokens": round((check + answer) / max(1, ingest), 4),
    }
