"""Retrieval inside the forward pass: each layer fills the memory slots with what it asks for.

ReKV (Di et al., 2025) scores a stored clip by the dot product of the question's mean query and the
clip's mean key, both without rotary position, in each layer by itself. The sum over the heads of a
group that share keys is taken on the queries, which is exactly the same score at a fraction of the
index. The token-level score (late interaction: for each question token and head the best clip token)
finds small evidence that a mean dilutes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch

from onlooker.engine.vllm_adapter.segments.arena import Segment, SegmentArena
from onlooker.engine.vllm_adapter.segments.rotary import Rotary
from onlooker.engine.vllm_adapter.segments.steps import RetrieveOp

ScoreName = Literal["mean_key", "late_interaction"]


class Score(Protocol):
    """Ranks clips for a question in one layer."""

    def __call__(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """`queries`: [question_tokens, heads, head_dim]; `keys`: [clips, clip_tokens, kv_heads,
        head_dim], both without rotary position. Returns [clips], higher is better."""
        ...


def mean_key(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """ReKV's score."""
    kv_heads, head_dim = keys.shape[-2:]
    query = queries.float().mean(0).view(kv_heads, -1, head_dim).sum(1)
    return torch.einsum("chd,hd->c", keys.float().mean(1), query)


def late_interaction(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Mean over question tokens and heads of the best clip token (ColBERT's MaxSim, per head)."""
    kv_heads, head_dim = keys.shape[-2:]
    grouped = queries.float().view(len(queries), kv_heads, -1, head_dim)
    return torch.einsum("qhgd,cthd->cqhgt", grouped, keys.float()).amax(-1).mean((1, 2, 3))


SCORES: dict[ScoreName, Score] = {"mean_key": mean_key, "late_interaction": late_interaction}


@dataclass(slots=True)
class _Retrieval:
    """One request's retrieval in this step."""

    request_id: str
    op: RetrieveOp
    segments: list[Segment]
    positions: torch.Tensor
    rows: slice
    plain_keys: list[torch.Tensor] = field(default_factory=list)
    chosen: list[str] = field(default_factory=list)


class LayerRetriever:
    """The retrievals of one step. See the module.

    `refused` lists requests whose candidates are not all there: (request, missing keys, blocks).
    """

    def __init__(
        self,
        ops: list[RetrieveOp],
        arena: SegmentArena,
        rotary: Rotary,
        *,
        score: ScoreName = "mean_key",
    ) -> None:
        self._rotary = rotary
        self._score = SCORES[score]
        self._retrievals: list[_Retrieval] = []
        self.refused: list[tuple[str, list[str], list[int]]] = []
        for op in ops:
            segments = arena.get_all(op.retrieval.candidates)
            if segments is None:
                missing = [key for key in op.retrieval.candidates if arena.get(key) is None]
                self.refused.append((op.request_id, missing, op.block_ids))
                continue
            self._retrievals.append(self._prepare(op, segments))

    def _prepare(self, op: RetrieveOp, segments: list[Segment]) -> _Retrieval:
        raise NotImplementedError

    def choose(
        self, index: int, query: torch.Tensor
    ) -> Iterator[tuple[_Retrieval, torch.Tensor, torch.Tensor, list[int]]]:
        """Pick for layer `index`; yields keys and values to write and where."""
        raise NotImplementedError
