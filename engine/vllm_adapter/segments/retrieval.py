"""Retrieval inside the forward pass: each layer fills the memory slots with what it asks for.

ReKV (Di et al., 2025) scores a stored clip by the dot product of the question's mean query and the
clip's mean key, both without rotary position, in each layer by itself. The sum over the heads of a
group that share keys is taken on the queries, which is exactly the same score at a fraction of the
index. The token-level score (late interaction: for each question token and head the best clip
token) finds small evidence that a mean dilutes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Placement:
    """What one layer put into one request's slots."""

    request_id: str
    chosen: list[str]
    """Keys in time order, one a slot."""
    keys: torch.Tensor
    values: torch.Tensor
    """[tokens, kv_heads, head_dim], the keys rotated to their new place."""
    slots: list[int]


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
            else:
                self._retrievals.append(_Retrieval(op, segments))

    def choose(
        self, index: int, query: torch.Tensor, find_rows: Callable[[list[int]], torch.Tensor]
    ) -> Iterator[Placement]:
        """Pick for layer `index`.

        `query`: [tokens, heads, head_dim], this step's queries with rotary position. `find_rows`
        tells which of them belong to given KV slots.
        """
        for retrieval in self._retrievals:
            op = retrieval.op
            rows = find_rows(op.question_slots)
            positions = torch.tensor(op.question_positions).expand(3, -1)
            queries = self._rotary.remove(query[rows].cpu(), positions)
            scores = self._score(queries, retrieval.plain_keys(index))
            best = torch.topk(scores, len(op.place_slots)).indices.sort().values.tolist()
            yield self._place(retrieval, index, best)

    def _place(self, retrieval: "_Retrieval", index: int, best: list[int]) -> Placement:
        op = retrieval.op
        segments = [retrieval.segments[i] for i in best]
        places = op.retrieval.slots
        delta = torch.tensor(
            [
                place.position - segment.base
                for segment, place in zip(segments, places, strict=True)
                for _ in range(segment.num_tokens)
            ]
        )
        return Placement(
            request_id=op.request_id,
            chosen=[op.retrieval.candidates[i] for i in best],
            keys=self._rotary.shift(torch.cat([s.keys[index] for s in segments]), delta),
            values=torch.cat([s.values[index] for s in segments]),
            slots=[slot for place in op.place_slots for slot in place],
        )


class _Retrieval:
    """One request's candidates."""

    def __init__(self, op: RetrieveOp, segments: list[Segment]) -> None:
        self.op = op
        self.segments = segments

    def plain_keys(self, index: int) -> torch.Tensor:
        """[clips, clip_tokens, kv_heads, head_dim] of layer `index`."""
        plain = [segment.plain_keys for segment in self.segments]
        return torch.stack([keys[index] for keys in plain if keys is not None])
