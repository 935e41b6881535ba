"""Retrieval inside the forward pass: each layer fills the memory slots with what it asks for.

ReKV (Di et al., 2025) scores a stored clip by the dot product of the question's mean query and the
clip's mean key, both without rotary position, in each layer by itself. The sum over the heads of a
group that share keys is taken on the queries, which is exactly the same score at a fraction of the
index. The token-level score (late interaction: for each question token and head the best clip
token) finds small evidence that a mean dilutes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from onlooker.engine.vllm_adapter.segments.arena import Reads, SegmentArena
from onlooker.engine.vllm_adapter.segments.rotary import Rotary
from onlooker.engine.vllm_adapter.segments.steps import RetrieveOp

ScoreName = Literal["mean_key", "late_interaction"]


SHORTLIST = 64
"""Candidates at least that late interaction looks at again."""


def mean_key_rows(queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """ReKV's score, [clips]; higher is better. `queries`: [question_tokens, heads, head_dim];
    `rows`: mean keys [clips, kv_heads, head_dim]; both without rotary position."""
    kv_heads, head_dim = rows.shape[-2:]
    query = queries.float().mean(0).view(kv_heads, -1, head_dim).sum(1)
    return torch.einsum("chd,hd->c", rows, query)


def late_interaction(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Mean over question tokens and heads of the best clip token (ColBERT's MaxSim, per head),
    [clips]. `keys`: [clips, clip_tokens, kv_heads, head_dim]."""
    kv_heads, head_dim = keys.shape[-2:]
    grouped = queries.float().view(len(queries), kv_heads, -1, head_dim)
    return torch.einsum("qhgd,cthd->cqhgt", grouped, keys.float()).amax(-1).mean((1, 2, 3))


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

    `reads` takes, by request, which segments were read and where they lay.
    `refused` lists requests whose candidates are not all there: (request, missing keys, blocks).
    """

    def __init__(
        self,
        ops: list[RetrieveOp],
        arena: SegmentArena,
        rotary: Rotary,
        *,
        score: ScoreName = "mean_key",
        reads: dict[str, Reads] | None = None,
    ) -> None:
        self._arena = arena
        self._reads = {} if reads is None else reads
        self._rotary = rotary
        self._score = score
        self._retrievals: list[_Retrieval] = []
        self.refused: list[tuple[str, list[str], list[int]]] = []
        self.lost: list[tuple[str, list[int]]] = []
        """Requests of which a chosen segment was gone in some layer, and their blocks."""
        for op in ops:
            rows = arena.rows(op.retrieval.candidates)
            if rows is None:
                missing = [key for key in op.retrieval.candidates if arena.rows([key]) is None]
                self.refused.append((op.request_id, missing, op.block_ids))
            else:
                self._retrievals.append(_Retrieval(op, torch.stack(rows, 1)))

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
            best = self._best(retrieval, index, queries)
            placed = self._place(retrieval, index, best)
            if placed is None:
                self.lost.append((op.request_id, op.block_ids))
            else:
                yield placed

    def _best(self, retrieval: "_Retrieval", index: int, queries: torch.Tensor) -> list[int]:
        """Which candidates, in time order."""
        num_slots = len(retrieval.op.place_slots)
        scores = mean_key_rows(queries, retrieval.rows[index])
        if self._score == "mean_key":
            return _top(scores, num_slots)
        # The costlier score takes a second look at the best candidates of the cheap one.
        short = _top(scores, min(len(scores), max(SHORTLIST, 4 * num_slots)))
        keys = [retrieval.op.retrieval.candidates[i] for i in short]
        segments = self._arena.get_all(keys, self._reads_of(retrieval))
        if segments is None:
            return _top(scores, num_slots)
        plain = [
            segment.plain_keys[index] for segment in segments if segment.plain_keys is not None
        ]
        again = _top(late_interaction(queries, torch.stack(plain)), num_slots)
        return [short[i] for i in again]

    def _place(self, retrieval: "_Retrieval", index: int, best: list[int]) -> Placement | None:
        """Keys and values of the chosen, None when one of them is gone."""
        op = retrieval.op
        chosen = [op.retrieval.candidates[i] for i in best]
        segments = self._arena.get_all(chosen, self._reads_of(retrieval))
        if segments is None:
            return None
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
            chosen=chosen,
            keys=self._rotary.shift(torch.cat([s.keys[index] for s in segments]), delta),
            values=torch.cat([s.values[index] for s in segments]),
            slots=[slot for place in op.place_slots for slot in place],
        )

    def _reads_of(self, retrieval: "_Retrieval") -> Reads:
        return self._reads.setdefault(retrieval.op.request_id, {})


@dataclass(frozen=True, slots=True)
class _Retrieval:
    """One request's candidates."""

    op: RetrieveOp
    rows: torch.Tensor
    """Index rows, [layers, clips, kv_heads, head_dim]."""


def _top(scores: torch.Tensor, count: int) -> list[int]:
    """Indices of the `count` best, ascending."""
    best: list[int] = torch.topk(scores, count).indices.sort().values.tolist()
    return best
