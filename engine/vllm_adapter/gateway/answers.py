"""vLLM's outputs of one answer as the engine's events."""

from collections.abc import AsyncIterator
from typing import Any

from onlooker.core.errors import EngineFailed
from onlooker.core.metrics import Metrics
from onlooker.engine.interface import AnswerDelta, AnswerEnd, AnswerEvent, FinishReason

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


async def answer_events(
    outputs: AsyncIterator[Any], *, spans_s: tuple[tuple[float, float], ...] = ()
) -> AsyncIterator[AnswerEvent]:
    """Deltas, then one `AnswerEnd`; its details carry what the KV connector reported.

    Raises:
        EngineFailed: the request ended in error (for instance a stored segment was missing).
    """
    num_output_tokens = 0
    async for output in outputs:
        completion = output.outputs[0]
        num_output_tokens += len(completion.token_ids)
        if completion.text:
            yield AnswerDelta(completion.text)
        if output.finished:
            if completion.finish_reason not in _FINISH:
                raise EngineFailed(f"the engine ended with '{completion.finish_reason}'")
            yield AnswerEnd(
                finish_reason=_FINISH[completion.finish_reason],
                num_prompt_tokens=len(output.prompt_token_ids or ()),
                num_cached_tokens=output.num_cached_tokens or 0,
                num_output_tokens=num_output_tokens,
                clip_spans_s=spans_s,
                details=dict(output.kv_transfer_params or {}),
            )


async def only_end(events: AsyncIterator[AnswerEvent]) -> AnswerEnd:
    """Run a request for its effect; returns its end.

    Raises:
        EngineFailed: there was none.
    """
    end: AnswerEnd | None = None
    async for event in events:
        if isinstance(event, AnswerEnd):
            end = event
    if end is None:
        raise EngineFailed("the engine gave no result")
    return end


def count_tokens(metrics: Metrics, work: str, end: AnswerEnd) -> None:
    """Add one finished request to the token counters; `work` is ``ingest`` or ``answer``."""
    computed = end.num_prompt_tokens - end.num_cached_tokens
    metrics.tokens.labels(work, "computed").inc(computed)
    metrics.tokens.labels(work, "cached").inc(end.num_cached_tokens)
    metrics.tokens.labels(work, "generated").inc(end.num_output_tokens)


def count_fetched(metrics: Metrics, end: AnswerEnd) -> None:
    """Add what an answer read of its stream's memory."""
    for tier, num_bytes in end.fetched_bytes.items():
        metrics.memory_fetched_bytes.labels(tier).inc(num_bytes)
    if end.memory_incomplete:
        metrics.answers_incomplete.inc()
