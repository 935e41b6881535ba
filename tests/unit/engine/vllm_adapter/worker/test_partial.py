"""Segments that are computed in parts."""

from typing import Any

import torch

from onlooker.engine.memory.plan import SaveSpan
from onlooker.engine.vllm_adapter.worker.partial import PartialSegment


def test_tokens_that_are_computed_again_after_preemption_follow_those_still_in_blocks() -> None:
    def rows(first: int, last: int) -> tuple[Any, Any, Any]:
        part = torch.arange(first, last, dtype=torch.float32).view(1, -1, 1, 1)
        return part, part + 100, part + 200

    partial = PartialSegment()
    assert partial.add(0, *rows(0, 6))
    assert not partial.add(8, *rows(8, 9))  # 6 and 7 were never seen
    assert partial.add(4, *rows(4, 10))
    segment, _ = partial.segment(SaveSpan("k", 0, 10, 0))
    assert segment.plain_keys is not None
    for part, start in ((segment.keys, 0), (segment.values, 100), (segment.plain_keys, 200)):
        assert part.flatten().tolist() == list(range(start, start + 10))
