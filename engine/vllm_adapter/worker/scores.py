"""Scores: how well a stored segment matches a question, in one layer.

A score has two halves. When a segment is saved, `entries` makes its index entries of its keys. When
a question comes, `compare` ranks segments by their entries and the question's queries. Keys and
queries are without rotary position: how long ago something was does not change how well it matches.

All scores are on one scale, that of attention logits: the mean over query tokens and heads of
``q.k / sqrt(head_dim)``. So a softmax over them means something, and scores of different kinds and
layers can be compared. Heads that share keys stay apart only where that changes the score.

| name               | what the index keeps of a segment | after                               |
|--------------------|-----------------------------------|-------------------------------------|
| `mean_key`         | the mean of its keys              | ReKV (Di et al., 2025)              |
| `representatives`  | the keys most attended in it      | InfLLM (Xiao et al., 2024)          |
| `page_mean`        | the mean of each page of keys     | LiveVLM (Ning et al., 2025)         |
| `late_interaction` | all its keys                      | ColBERT's MaxSim, as SAVEMem reads  |
| `token_keys_8bit`  | all its keys in 8 bits            | the same                            |
| `token_keys_1bit`  | their mean, and signs around it   | ColBERTv2's residuals               |
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch

from onlooker.engine.memory.ranking import ScoreName
from onlooker.engine.vllm_adapter.worker.head_group import ALONE, HeadGroup
from onlooker.engine.vllm_adapter.worker.packed_keys import PackedKeys


class RetrievalScore(Protocol):
    """One way to rank segments. Stateless."""

    needs_queries: bool
    """Whether `entries` wants the queries of the segment's own tokens."""
    is_packed: bool
    """Whether entries are rows of bytes, a multiple of four, and no numbers. Where there are more
    candidates than are compared one by one, those are compared that are best by their means."""
    is_by_token: bool
    """Whether the index keeps something of each token; then it has to be that of the tokens which a
    segment has."""
    is_linear: bool
    """Whether a segment's score is the product of one vector of the question, `mean_query`, and the
    mean of the segment's entries, so that segments can be searched by likeness."""

    def entries(self, keys: torch.Tensor, queries: torch.Tensor | None) -> torch.Tensor:
        """What the index keeps of a segment: [layers, entries, kv_heads, head_dim].

        `keys`: [layers, tokens, kv_heads, head_dim]. `queries`: [layers, tokens, heads, head_dim]
        of the same tokens, where `needs_queries`; None where they are not known any more.
        """
        ...

    def means(self, entries: torch.Tensor, head_dim: int | None = None) -> torch.Tensor:
        """The mean of each segment's entries, [segments, kv_heads * head_dim], by which segments
        are searched by likeness. `entries`: of one layer. `head_dim`: of the keys; None: it is
        read out of packed entries, for which a device would be waited for."""
        ...

    def compare(self, queries: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
        """One layer's scores, [segments]; higher is better. A segment is as good as its best part.

        `queries`: [question_tokens, heads, head_dim]; `entries`: [segments, entries, kv_heads,
        head_dim].
        """
        ...

    def parts(self, queries: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
        """One layer's scores of the parts of segments, [segments, parts]: means over the heads, so
        that those of workers with other heads can be added (see `HeadGroup`)."""
        ...


def of_best_part(parts: torch.Tensor) -> torch.Tensor:
    """The scores of segments, [segments], by those of their parts, [segments, parts]."""
    return parts[:, 0] if parts.shape[1] == 1 else parts.amax(1)


class _ByParts:
    """Compares whole segments by their best part."""

    is_packed = False
    is_by_token = False

    def means(self, entries: torch.Tensor, head_dim: int | None = None) -> torch.Tensor:
        return entries.float().mean(1).flatten(1)

    def parts(self, queries: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def compare(self, queries: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
        return of_best_part(self.parts(queries, entries))


class MeanKey(_ByParts):
    """ReKV: mean query times mean key. The sum over the heads of a group that share keys is taken
    on the queries, which is exactly the same score at a fraction of the index."""

    needs_queries = False
    is_linear = True

    def entries(self, keys: torch.Tensor, queries: torch.Tensor | None) -> torch.Tensor:
        return keys.mean(1, keepdim=True, dtype=torch.float32).to(keys.dtype)

    def parts(self, queries: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
        return _mean_query_scores(queries, entries)


class Representatives(_ByParts):
    """InfLLM: the few tokens of a segment to which its own later tokens attend most, compared by
    the mean.

    Args:
        count: tokens kept of each segment (fewer where it has fewer).
    """

    needs_queries = True
    is_linear = True

    def __init__(self, count: int = 4) -> None:
        self._count = count

    def entries(self, keys: torch.Tensor, queries: torch.Tensor | None) -> torch.Tensor:
        # A segment that was read back from a store has no queries; its keys stand in for them.
        asked_by = keys if queries is None else queries
        kv_heads = keys.shape[2]
        grouped = asked_by.float().unflatten(2, (kv_heads, -1)).sum(3)  # [layers, tokens, kvh, d]
        logits = torch.einsum("lqhd,lkhd->lqk", grouped, keys.float())
        later = logits.new_ones(logits.shape[-2:], dtype=torch.bool).tril()
        attended = (logits * later).sum(1) / later.sum(0)
        best = attended.topk(min(self._count, keys.shape[1]), dim=1).indices.sort(1).values
        return keys.gather(1, best[..., None, None].expand(-1, -1, *keys.shape[2:]))

    def parts(self, queries: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
        return _mean_query_scores(queries, entries).mean(1, keepdim=True)


class PageMean(_ByParts):
    """LiveVLM: mean key of each page; a segment is as good as its best page.

    Args:
        page_tokens: tokens of a page; the last may be shorter.
    """

    needs_queries = False
    is_linear = False

    def __init__(self, page_tokens: int = 16) -> None:
        self._page_tokens = page_tokens

    def entries(self, keys: torch.Tensor, queries: torch.Tensor | None) -> torch.Tensor:
        pages = [page.float().mean(1) for page in keys.split(self._page_tokens, dim=1)]
        return torch.stack(pages, 1).to(keys.dtype)

    def parts(self, queries: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
        return _mean_query_scores(queries, entries)


class LateInteraction(_ByParts):
    """Takes for each question token and head the best token of the segment, then the mean. Finds
    small evidence that a mean dilutes; as an index it keeps every key, as a second look none."""

    needs_queries = False
    is_by_token = True
    is_linear = False

    def entries(self, keys: torch.Tensor, queries: torch.Tensor | None) -> torch.Tensor:
        return keys

    def parts(self, queries: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
        kv_heads, head_dim = entries.shape[-2:]
        grouped = queries.float().unflatten(1, (kv_heads, -1)) * head_dim**-0.5
        best = torch.einsum("qhgd,cthd->cqhgt", grouped, entries.float()).amax(-1)
        return best.mean((1, 2, 3))[:, None]


Found = tuple[torch.Tensor, torch.Tensor]
"""Places of some segments, [some], and the scores of their parts, [some, parts]."""


def assembled(found: Sequence[Found], count: int, group: HeadGroup = ALONE) -> torch.Tensor:
    """The scores of `count` segments by all heads, [count], of those by this worker's. `found` has
    each of the segments once."""
    width = max(parts.shape[1] for _, parts in found)
    first = found[0][1]
    whole = torch.full((count, width), -torch.inf, dtype=torch.float32, device=first.device)
    for places, parts in found:
        whole[places, : parts.shape[1]] = parts.float()
    return of_best_part(group.mean(whole))


def compared(
    score: RetrievalScore,
    queries: torch.Tensor,
    keys: Sequence[torch.Tensor],
    group: HeadGroup = ALONE,
) -> torch.Tensor:
    """One layer's scores of segments, [segments], made of all their `keys` ([tokens, kv_heads,
    head_dim] for each segment), so that the index need not hold entries of this score."""
    by_size: dict[int, list[int]] = {}
    for place, one in enumerate(keys):
        by_size.setdefault(len(one), []).append(place)
    found = []
    for places in by_size.values():
        stacked = torch.stack([keys[place] for place in places])
        # Entries are made layer by layer, so segments can take the place of layers.
        parts = score.parts(queries, score.entries(stacked, None))
        found.append((torch.tensor(places), parts))
    return assembled(found, len(keys), group)


SCORES: Mapping[ScoreName, RetrievalScore] = {
    "mean_key": MeanKey(),
    "representatives": Representatives(),
    "page_mean": PageMean(),
    "late_interaction": LateInteraction(),
    "token_keys_8bit": PackedKeys(8),
    "token_keys_1bit": PackedKeys(1),
}
"""All scores, by the name that the settings use."""


def mean_query(queries: torch.Tensor, kv_heads: int) -> torch.Tensor:
    """The vector, [kv_heads * head_dim], whose product with a mean key is the score of `MeanKey`.

    `queries`: [question_tokens, heads, head_dim].
    """
    head_dim = queries.shape[-1]
    group = queries.shape[1] // kv_heads
    # Two means are several times faster on a CPU than one over both axes.
    query = queries.mean(0, dtype=torch.float32).unflatten(0, (kv_heads, group)).mean(1)
    return query.flatten() * (head_dim**-0.5 / kv_heads)


def _mean_query_scores(queries: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
    """The mean query against each entry, [segments, entries], averaged over the heads."""
    return entries.float().flatten(2) @ mean_query(queries, entries.shape[-2])
