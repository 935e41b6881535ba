"""`RequestOutcome`: how a request ended, read from vLLM's last output of it."""

from dataclasses import dataclass
from typing import Any

from onlooker.core.errors import EngineFailed
from onlooker.core.metrics import Metrics
from onlooker.engine.interface import AnswerEnd, FinishReason
from onlooker.engine.memory.mosaic import Mask
from onlooker.engine.memory.plan import RequestReport
from onlooker.engine.vllm_adapter.gateway.answer_reader import AnswerReader
from onlooker.engine.vllm_adapter.wire import read_load, read_report, read_served
from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.ticket import Served

_WELL_ENDED = (FinishReason.STOP, FinishReason.LENGTH)
"""What vLLM calls the ends that are none of an error or an abort; the words are the same."""


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """How a request ended."""

    finish_reason: FinishReason
    num_prompt_tokens: int
    num_cached_tokens: int
    report: RequestReport
    """What came of the request's plan."""
    served: Served | None
    """How the scheduler served the request, where a policy did."""
    load: EngineLoad | None
    """How busy the engine was when the request ended, where a policy tells; of the requests that
    end in one step one tells it."""

    @classmethod
    def of(cls, output: Any) -> "RequestOutcome":
        """Read a finished ``vllm.RequestOutput``.

        Raises:
            EngineFailed: the request ended in error (for instance a stored segment was missing).
        """
        reason = output.outputs[0].finish_reason
        if reason not in _WELL_ENDED:
            raise EngineFailed(f"the engine ended with '{reason}'")
        params = output.kv_transfer_params
        return cls(
            FinishReason(reason),
            len(output.prompt_token_ids or ()),
            output.num_cached_tokens or 0,
            read_report(params),
            read_served(params),
            read_load(params),
        )

    def answer_end(self, reader: AnswerReader) -> AnswerEnd:
        """The end of an answer that was read."""
        return AnswerEnd(
            self.finish_reason,
            self.num_prompt_tokens,
            self.num_cached_tokens,
            reader.num_tokens,
            calls=reader.calls,
            misread_times=reader.misread_times,
            served=self.served,
        )

    def count(self, metrics: Metrics, work: str, num_output_tokens: int) -> None:
        """Add the request to the token counters; `work` is ``ingest`` or ``answer``."""
        computed = self.num_prompt_tokens - self.num_cached_tokens
        metrics.tokens.labels(work, "computed").inc(computed)
        metrics.tokens.labels(work, "cached").inc(self.num_cached_tokens)
        metrics.tokens.labels(work, "generated").inc(num_output_tokens)


def count_places(metrics: Metrics, shown: Mask) -> None:
    """Add a clip that was thinned to the counters; `shown`: the places that were computed."""
    metrics.clip_places.labels("computed").inc(int(shown.sum()))
    metrics.clip_places.labels("left_out").inc(int((~shown).sum()))


def count_times(metrics: Metrics, reader: AnswerReader) -> None:
    """Add the times that an answer named to the counters."""
    metrics.answer_times.labels("seen").inc(reader.num_seen_times)
    for misread in reader.misread_times:
        metrics.answer_times.labels("unseen" if misread.told_s is None else "mended").inc()


def count_fetched(metrics: Metrics, end: AnswerEnd) -> None:
    """Add what an answer read of its stream's memory to the counters."""
    for tier, num_bytes in end.fetched_bytes.items():
        metrics.memory_fetched_bytes.labels(tier).inc(num_bytes)
    if end.memory_incomplete:
        metrics.answers_incomplete.inc()
