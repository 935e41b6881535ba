"""`PartialSegment`: a segment of which only some tokens have been computed."""

import torch

from onlooker.engine.memory.plan import SaveSpan
from onlooker.engine.vllm_adapter.wire import SaveOp
from onlooker.engine.vllm_adapter.worker.arena import Segment


class PartialSegment:
    """Collects what chunked prefill computes step by step, also across preemption."""

    def __init__(self) -> None:
        self._parts: list[torch.Tensor] = []

    @property
    def num_tokens(self) -> int:
        return int(self._parts[0].shape[1]) if self._parts else 0

    def add(self, first: int, *parts: torch.Tensor) -> bool:
        """Add the tokens from `first` on; tokens that are there from `first` on were computed
        before preemption and come again. Returns whether the new tokens follow on what is there; if
        not, none is added.

        `parts`, always the same ones: keys, values, plain keys and, where the index wants them,
        plain queries; [layers, tokens, heads, head_dim] each.
        """
        if first > self.num_tokens:
            return False
        if first:
            before = [part[:, :first] for part in self._parts]
            self._parts = [torch.cat(both, dim=1) for both in zip(before, parts, strict=True)]
        else:
            self._parts = list(parts)
        return True

    def segment(self, span: SaveSpan) -> tuple[Segment, torch.Tensor | None]:
        """The whole segment, and its queries without rotary position (None where there are none).
        The segment has memory of its own: the parts are views of what a whole step computed."""
        keys, values, plain = (part.clone() for part in self._parts[:3])
        queries = self._parts[3] if len(self._parts) > 3 else None
        return Segment(keys, values, span.position, plain if span.retrievable else None), queries


def saved_positions(saves: list[SaveOp]) -> torch.Tensor:
    """Rotary positions of all tokens that are saved in a step, [3, tokens]; 0 for segments that
    retrieval may not pick, since nobody wants to know their keys without position."""
    parts = []
    for op in saves:
        positions = torch.zeros(3, len(op.slots), dtype=torch.int64)
        if op.span.retrievable:
            offsets = torch.tensor(op.span.offsets)[:, op.first : op.first + len(op.slots)]
            positions = offsets + op.span.position
        parts.append(positions)
    return torch.cat(parts, dim=1)
