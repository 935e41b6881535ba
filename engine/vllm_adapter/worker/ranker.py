"""`Ranker`: which of a question's candidates match it best, by what the index keeps of them.

Few candidates are compared one by one. Of many, a search finds the best without a look at each
(see `clusters`); then only those are known by their scores, and the others by a sample of them.
Where a score is not what the search goes by, it finds as many as are compared one by one.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from onlooker.engine.memory.key_runs import KeyParts, KeyRuns
from onlooker.engine.vllm_adapter.worker.clustered import ClusteredRows, NumberRuns
from onlooker.engine.vllm_adapter.worker.clusters import Vectors
from onlooker.engine.vllm_adapter.worker.head_group import ALONE, HeadGroup
from onlooker.engine.vllm_adapter.worker.index import Index, SegmentGroup
from onlooker.engine.vllm_adapter.worker.scores import RetrievalScore, assembled, mean_query
from onlooker.engine.vllm_adapter.worker.selection import MIN_DEVIATION, Ranked, standardised


@dataclass(frozen=True, slots=True)
class LayerView:
    """One layer's view of one question."""

    layer: int
    queries: torch.Tensor
    """Queries of the question's tokens, [question_tokens, heads, head_dim], without rotary
    position."""


class Ranker:
    """Ranks the candidates of one retrieval, see the module.

    Args:
        candidates: keys, all of which the index knows.
        recent: keys of the recent window, which are ranked with them; their places follow those of
            the candidates.
        voters: the layers that vote; None: each layer chooses by itself.
        group: the workers that have the other heads. Their index keeps nothing by likeness.
    """

    def __init__(
        self,
        index: Index,
        score: RetrievalScore,
        candidates: KeyRuns,
        recent: KeyRuns,
        voters: frozenset[int] | None,
        *,
        group: HeadGroup = ALONE,
    ) -> None:
        self._group = group
        self._index = index
        self._score = score
        self._candidates, self._recent = _searchable(candidates, recent)
        self._voters = None if voters is None else tuple(sorted(voters))
        self._groups: list[SegmentGroup] | None = None
        self._known: dict[int, torch.Tensor] = {}
        """Scores of all, of layers that were compared one by one."""
        self._scales: dict[int, tuple[float, float]] = {}
        """Mean and deviation of the scores of layers that were searched, by a sample."""

    def rank(self, looks: Sequence[LayerView], *, is_vote: bool, count: int) -> Ranked:
        """The scores of the `count` best candidates at least, and of the recent window. Where
        layers vote, their scores are standardised and added up.

        Args:
            looks: what the layers that count ask for; one where `is_vote` is false.
        """
        layers = self._voters or ((looks[0].layer,) if len(looks) == 1 else ())
        found = self._index.clustered(self._candidates, layers)
        if found is not None and self._score.is_linear:
            return self._searched(*found, layers, looks, is_vote=is_vote, count=count)
        if found is not None:
            return self._narrowed(*found, layers, looks, is_vote=is_vote)
        return self.rank_all(looks, is_vote=is_vote)

    def rank_all(self, looks: Sequence[LayerView], *, is_vote: bool) -> Ranked:
        """The scores of all candidates and of the recent window; see `rank`."""
        each = [self._all(look) for look in looks]
        if not is_vote:
            return Ranked.of(each[0])
        scales = [self._scales.get(look.layer) for look in looks]
        votes = [standardised(one, scale) for one, scale in zip(each, scales, strict=True)]
        return Ranked.of(torch.stack(votes).sum(0))

    def _searched(
        self,
        rows: ClusteredRows,
        runs: NumberRuns,
        layers: tuple[int, ...],
        looks: Sequence[LayerView],
        *,
        is_vote: bool,
        count: int,
    ) -> Ranked:
        sample_places, sample = rows.sample(runs)
        dims = sample.shape[1] // len(layers)
        query = np.zeros(sample.shape[1], np.float32)
        moved_by = 0.0
        recent = torch.zeros(len(self._recent))
        for look in looks:
            at = layers.index(look.layer)
            part = slice(at * dims, (at + 1) * dims)
            kv_heads = dims // look.queries.shape[-1]
            query[part] = mean_query(look.queries, kv_heads).cpu().numpy()
            own = sample[:, part] @ query[part]
            recent_own = self._compared(look, self._index.groups(self._recent), len(recent))
            mean, deviation = 0.0, 1.0
            if is_vote:  # each layer has an equal vote
                mean, deviation = _moments(own, len(self._candidates), recent_own.numpy())
                self._scales[look.layer] = mean, deviation
            recent += (recent_own - mean) / deviation
            query[part] /= deviation
            moved_by += mean / deviation
        places, scores, num_compared = rows.search(runs, query, count)
        is_other = ~np.isin(sample_places, places)
        others = sample[is_other] @ query - moved_by
        first_recent = len(self._candidates)
        return Ranked(
            places=torch.cat(
                [torch.from_numpy(places), torch.arange(first_recent, first_recent + len(recent))]
            ),
            scores=torch.cat([torch.from_numpy(scores - np.float32(moved_by)), recent]),
            num_others=len(self._candidates) - len(places),
            sampled_others=torch.from_numpy(others),
            num_compared=num_compared + len(sample),
        )

    def _narrowed(
        self,
        rows: ClusteredRows,
        runs: NumberRuns,
        layers: tuple[int, ...],
        looks: Sequence[LayerView],
        *,
        is_vote: bool,
    ) -> Ranked:
        """The scores of as many as are compared one by one: those that are best by their mean keys.
        The others count as no better than the worst of them."""
        _, sample = rows.sample(runs)
        dims = sample.shape[1] // len(layers)
        query = np.zeros(sample.shape[1], np.float32)
        for look in looks:
            at = layers.index(look.layer)
            part = slice(at * dims, (at + 1) * dims)
            own = mean_query(look.queries, dims // look.queries.shape[-1]).cpu().numpy()
            query[part] = own / max(float((sample[:, part] @ own).std()), MIN_DEVIATION)
        places, scores, num_compared = rows.search(runs, query, rows.min_rows)
        places = np.sort(places[np.argsort(-scores, kind="stable")[: rows.min_rows]])
        keys = KeyRuns.of(self._candidates[place] for place in places.tolist()) + self._recent
        groups = self._index.groups(keys)
        each = [self._compared(look, groups, len(keys)) for look in looks]
        found = torch.stack([standardised(one) for one in each]).sum(0) if is_vote else each[0]
        first_recent = len(self._candidates)
        recent = torch.arange(first_recent, first_recent + len(self._recent))
        return Ranked(
            places=torch.cat([torch.from_numpy(places), recent]),
            scores=found,
            num_others=len(self._candidates) - len(places),
            sampled_others=found.min()[None],
            num_compared=num_compared + len(sample),
        )

    def _all(self, look: LayerView) -> torch.Tensor:
        """One layer's scores of all candidates and the recent window."""
        if look.layer not in self._known:
            keys = self._candidates + self._recent
            if self._groups is None:
                self._groups = self._index.groups(keys, self._group)
            self._known[look.layer] = self._compared(look, self._groups, len(keys))
        return self._known[look.layer]

    def _compared(
        self, look: LayerView, groups: Iterable[SegmentGroup], count: int
    ) -> torch.Tensor:
        """One layer's scores of the `count` segments of `groups`."""
        if not count:
            return torch.empty(0)
        found = []
        for group in groups:
            parts = group.parts(self._score, look.layer, look.queries)
            found.append((group.members, parts.cpu()))
        return assembled(found, count, self._group)


def _searchable(candidates: KeyRuns, recent: KeyRuns) -> tuple[KeyRuns, KeyRuns]:
    """The candidates that can be searched together, and those that are compared one by one. The
    oldest clips are compacted, so that their keys are of another kind than those of newer ones,
    which are few; all keep their places."""
    stems = [KeyParts.of(first).stem for first, _ in candidates.runs]
    count = next((at for at, stem in enumerate(stems) if stem != stems[0]), len(stems))
    if count == len(stems):
        return candidates, recent
    return KeyRuns(candidates.runs[:count]), KeyRuns(candidates.runs[count:]) + recent


def _moments(sample: Vectors, count: int, others: Vectors) -> tuple[float, float]:
    """Mean and deviation of `count` scores, of which there is a sample, and `others`."""
    total = count + len(others)
    mean = (count * float(sample.mean()) + float(others.sum())) / total
    squares = count * float(((sample - mean) ** 2).mean()) + float(((others - mean) ** 2).sum())
    return mean, max(math.sqrt(squares / total), MIN_DEVIATION)
