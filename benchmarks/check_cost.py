"""What watches cost beside the ingest that goes on anyway."""

from dataclasses import dataclass
from typing import Any

from onlooker.benchmarks.cpu import Cost
from onlooker.benchmarks.measured import Work


@dataclass(frozen=True, slots=True)
class Part:
    """One stretch of a run."""

    work: Work
    cost: Cost


def cost_figures(part: Part, alone: Part | None) -> dict[str, Any]:
    """Tokens and CPU time of a run; with `alone`, its surplus over the bare ingest."""
    work, cost = part.work, part.cost
    clips, checks = max(1, len(work.ingest_s)), len(work.check_s)
    ingest = work.ingest_tokens - work.ingest_cached_tokens
    check = work.check_tokens - work.check_cached_tokens
    answer = work.answer_tokens - work.answer_cached_tokens + work.output_tokens
    figures: dict[str, Any] = {
        "clips": len(work.ingest_s),
        "checks": checks,
        "answers": len(work.answer_s),
        "computed_tokens_per_clip": round(ingest / clips, 2),
        "tokens_per_check": round(check / max(1, checks), 2),
        "cpu_ms_per_clip": round(1000 * cost.cpu_s / clips, 2),
    }
    if alone is not None:
        base = alone.cost.cpu_s / max(1, len(alone.work.ingest_s))
        figures["cost_share"] = round((cost.cpu_s / clips - base) / base, 4)
        figures["cost_share_of_tokens"] = round((check + answer) / max(1, ingest), 4)
    return figures
