"""`PartialSegment`: a segment of which only some tokens have been computed; and all of them."""

from collections.abc import Sequence

import numpy as np
import torch

from onlooker.engine.memory.plan import SaveSpan
from onlooker.engine.vllm_adapter.wire import SaveOp
from onlooker.engine.vllm_adapter.worker.arena import Segment


class PartialSegment:
    """Collects what chunked prefill computes step by step, also across preemption."""

    def __init__(self) -> None:
        self.parts: list[torch.Tensor] = []
        """What there is of each part, see `add`."""

    @property
    def num_tokens(self) -> int:
        return int(self.parts[0].shape[1]) if self.parts else 0

    def add(self, first: int, *parts: torch.Tensor) -> bool:
        """Add the tokens from `first` on; tokens that are there from `first` on were computed
        before preemption and come again. Returns whether the new tokens follow on what is there; if
        not, none is added.

        `parts`, always the same ones, with their tokens second. For `segment`: keys, values, plain
        keys and, where the index wants them, plain queries; [layers, tokens, heads, head_dim] each.
        """
        if first > self.num_tokens:
            return False
        if first:
            before = [part[:, :first] for part in self.parts]
            self.parts = [torch.cat(both, dim=1) for both in zip(before, parts, strict=True)]
        else:
            self.parts = list(parts)
        return True

    def segment(self, span: SaveSpan) -> tuple[Segment, torch.Tensor | None]:
        """The whole segment, and its queries without rotary position (None where there are none).
        The segment has memory of its own: the parts are views of what a whole step computed."""
        keys, values, plain = (part.clone() for part in self.parts[:3])
        queries = self.parts[3] if len(self.parts) > 3 else None
        return Segment(keys, values, span.position, plain if span.retrievable else None), queries


class PartialSegments:
    """All segments of which only some tokens have been computed, by request and key."""

    def __init__(self) -> None:
        self._partial: dict[tuple[str, str], PartialSegment] = {}

    def add(self, op: SaveOp, parts: list[torch.Tensor]) -> PartialSegment | None:
        """Add what a step computed; gives the segment if it is whole now. `parts`: see
        `PartialSegment.add`."""
        name = (op.request_id, op.span.key)
        found = self._partial.setdefault(name, PartialSegment())
        if not found.add(op.first, *parts):
            return None  # a part was lost to preemption; the whole span comes again
        if found.num_tokens < op.span.num_tokens:
            return None
        del self._partial[name]
        return found

    def drop(self, ops: Sequence[SaveOp]) -> None:
        """Forget what there is of segments that a step has computed whole."""
        for op in ops if self._partial else ():
            self._partial.pop((op.request_id, op.span.key), None)

    def __len__(self) -> int:
        """Segments of which a part is there."""
        return len(self._partial)

    def forget(self, request_id: str) -> None:
        """Forget what there is of segments that `request_id` has not saved whole."""
        for name in [name for name in self._partial if name[0] == request_id]:
            del self._partial[name]


def saved_positions(saves: list[SaveOp]) -> torch.Tensor:
    """Rotary positions of all tokens that are saved in a step, [3, tokens]; 0 for segments that
    retrieval may not pick, since nobody wants to know their keys without position."""
    found = np.zeros((3, sum(len(op.slots) for op in saves)), np.int64)
    row = 0
    for op in saves:
        rows = slice(row, row + len(op.slots))
        row = rows.stop
        if op.span.retrievable:
            offsets = np.asarray(op.span.computed_offsets, np.int64)
            found[:, rows] = offsets[:, op.first : op.first + len(op.slots)] + op.span.position
    return torch.from_numpy(found)
