"""What an answer rested on: the time that its context showed, and which of it was retrieved."""

from dataclasses import replace
from typing import Any

from onlooker.engine.interface import AnswerEnd
from onlooker.engine.vllm_adapter.segments.memory import Recall
from onlooker.engine.vllm_adapter.segments.spec import PARAMS_KEY


def with_evidence(end: AnswerEnd, recall: Recall, incomplete: bool) -> AnswerEnd:
    """Say which time spans were in the context, and which of them retrieval brought back."""
    details = dict(end.details)
    report: Any = details.pop(PARAMS_KEY, {})
    layers_by_key: dict[str, int] = {}
    for layer in report.get("picked", ()):
        for key in layer:
            layers_by_key[key] = layers_by_key.get(key, 0) + 1
    retrieved = [clip for clip in recall.candidates if clip.tokens.key in layers_by_key]
    retrieved += recall.named
    retrieved.sort(key=lambda clip: clip.clip_index)
    details["retrieved"] = [
        {
            "start_s": clip.start_s,
            "end_s": clip.end_s,
            "layers": layers_by_key.get(clip.tokens.key),
        }
        for clip in retrieved
    ]
    spans: list[tuple[float, float]] = []
    last_index: int | None = None
    for clip in [*retrieved, *recall.recent]:
        if spans and last_index is not None and clip.clip_index == last_index + 1:
            spans[-1] = (spans[-1][0], clip.end_s)
        else:
            spans.append((clip.start_s, clip.end_s))
        last_index = clip.clip_index
    return replace(end, clip_spans_s=tuple(spans), memory_incomplete=incomplete, details=details)
