"""What an answer rested on: the time that its context showed, and which of it was retrieved."""

from dataclasses import replace
from typing import Any

from onlooker.engine.interface import AnswerEnd
from onlooker.engine.memory.window import spans_s
from onlooker.engine.vllm_adapter.segments.memory import Recall
from onlooker.engine.vllm_adapter.segments.spec import PARAMS_KEY


def with_evidence(end: AnswerEnd, recall: Recall, incomplete: bool) -> AnswerEnd:
    """Say which time spans were in the context, and which of them retrieval brought back."""
    details = dict(end.details)
    report: Any = details.pop(PARAMS_KEY, {})
    picked = {key for layer in report.get("picked", ()) for key in layer}
    retrieved = [clip for clip in recall.candidates if clip.tokens.key in picked]
    retrieved = sorted([*retrieved, *recall.named], key=lambda clip: clip.clip_index)
    return replace(
        end,
        clip_spans_s=spans_s([*retrieved, *recall.recent]),
        retrieved_spans_s=spans_s(retrieved),
        memory_incomplete=incomplete,
        details=details,
    )
