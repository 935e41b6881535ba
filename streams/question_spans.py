"""The spans of one question: what it waited for, and how the engine answered."""

from onlooker.core.ids import split_stream_id
from onlooker.core.trace import SpanKind, TraceParent
from onlooker.core.tracer import Tracer
from onlooker.engine.interface import AnswerEnd, FinishReason, Question
from onlooker.streams.engine_spans import record_served


def record_question(
    tracer: Tracer,
    question: Question,
    place: TraceParent,
    *,
    arrived_at_s: float,
    ready_at_s: float | None,
    first_at_s: float | None,
    finish_reason: FinishReason,
    end: AnswerEnd | None,
    text: str,
) -> None:
    """Record a question that has ended, whatever way.

    `place`: that of its own span; `question.trace` is that of who asked. `ready_at_s`: when all was
    seen that had to be, None where it never was. `end`: the engine's, None where there was none.
    """
    if not place.is_sampled:
        return
    now_s = tracer.clock.now_s()
    tenant, stream = split_stream_id(question.stream_id)
    tracer.record(
        "question",
        place,
        above=question.trace,
        start_s=arrived_at_s,
        kind=SpanKind.SERVER,
        moments=() if first_at_s is None else (("first_token", first_at_s),),
        error=str(finish_reason) if finish_reason is FinishReason.ERROR else None,
        tenant=tenant,
        stream=stream,
        response_id=question.response_id,
        finish_reason=str(finish_reason),
        ttft_s=None if first_at_s is None else first_at_s - arrived_at_s,
        tokens__prompt=None if end is None else end.num_prompt_tokens,
        tokens__cached=None if end is None else end.num_cached_tokens,
        tokens__output=None if end is None else end.num_output_tokens,
        clips__retrieved=None if end is None else len(end.retrieved_spans_s),
        memory_incomplete=None if end is None else end.memory_incomplete,
        text__question=question.text if tracer.with_texts else None,
        text__answer=text if tracer.with_texts else None,
    )
    tracer.step("question.wait", place, arrived_at_s, now_s if ready_at_s is None else ready_at_s)
    if ready_at_s is not None:
        answered = tracer.step("question.answer", place, ready_at_s, now_s)
        served = None if end is None else end.served
        record_served(tracer, answered, served, since_s=ready_at_s)
