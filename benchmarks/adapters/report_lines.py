"""A report of an evaluation, for people."""

from collections.abc import Iterator
from typing import Any

from onlooker.benchmarks.report import rows


def lines(report: dict[str, Any]) -> Iterator[str]:
    """Scores by task, what they do not show, and what the replies took."""
    yield f"{report['benchmark']}: {report['answered']} of {report['probes']} replies"
    for way, shares in report["scores"].items():
        body = [(task, f"{share:.4f}") for task, share in shares.items()]
        yield rows((way, "score"), body)
    yield f"mind: {report['not_shown']}"
    yield (
        f"TTFT p50 {_ms(report['ttft_ms_p50'])}, p95 {_ms(report['ttft_ms_p95'])}; tokens: "
        f"{report['prompt_tokens_p50'] or 0:g} in a prompt (p50), {report['prompt_tokens']} in all "
        f"prompts, {report['output_tokens']} written"
    )
    for name, what in (
        ("without_form", "had no answer in the form that was wanted"),
        ("leaked_expectation", "were to questions that tell the expected reply"),
        ("looked_ahead", "RESTED ON WHAT CAME LATER, which must never be"),
    ):
        if report[name]:
            yield f"{report[name]} of the replies {what}"
    if report["failed"]:
        yield f"{report['failed']} videos failed; the same command tries those again:"
        yield from (f"  {failure}" for failure in report["failures"])


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
