"""Calibration: from traces of questions with known evidence to the ranking that finds it best.

Every ranking is replayed on the traces exactly as the server would rank: votes are standardised and
added up, a second look goes over the shortlist. Layers are added to the voters one by one as long
as that helps. Of several rankings that are about as good the cheapest is taken.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onlooker.engine.memory.ranking import Ranking, ScoreName

Floats = NDArray[np.float64]

RANKINGS: tuple[tuple[ScoreName, ScoreName | None], ...] = (
    ("mean_key", None),
    ("representatives", None),
    ("page_mean", None),
    ("token_keys_1bit", None),
    ("token_keys_8bit", None),
    ("mean_key", "late_interaction"),
    ("late_interaction", None),
)
"""Pairs of a score and a second look (None: no second look), the cheapest first."""

AS_GOOD = 0.02
"""A cheaper ranking is taken if its recall is at most so much below the best."""

TEMPERATURES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True, slots=True)
class Traced:
    """One question with the scores that its candidates (remembered clips) got."""

    kind: str
    """The question's family. Families count alike, however many questions there are of each."""
    scores: dict[ScoreName, Floats]
    """The candidates' scores by each way of scoring, float64[layers, candidates] each."""
    evidence: tuple[int, ...]
    """The candidates that hold the answer; one of them is enough."""

    @property
    def num_layers(self) -> int:
        return len(next(iter(self.scores.values())))


@dataclass(frozen=True, slots=True)
class RankingQuality:
    """How good a ranking is, as the mean over the kinds of questions."""

    recall: float
    """The share of the questions whose best evidence is among the first k."""
    mean_reciprocal_rank: float
    """The mean of 1 / rank of the best evidence: tells rankings of the same recall apart."""

    @property
    def goodness(self) -> float:
        return self.recall + 0.1 * self.mean_reciprocal_rank


def ranked(trace: Traced, ranking: Ranking) -> Floats:
    """float64[candidates]: the scores of the candidates as a probe adds them up."""
    layers = ranking.voting_layers or tuple(range(trace.num_layers))
    total = _votes(trace.scores[ranking.score], layers)
    if ranking.second_look is None:
        return total
    short = np.argsort(-total)[: ranking.shortlist_clips]
    again = _votes(trace.scores[ranking.second_look][:, short], layers)
    finer = np.full_like(total, again.min() - 1)
    finer[short] = again
    return finer


def evaluate(traces: Sequence[Traced], ranking: Ranking, k: int) -> RankingQuality:
    """How well `ranking` finds the evidence within the first `k`."""
    recalls: dict[str, list[float]] = defaultdict(list)
    ranks: dict[str, list[float]] = defaultdict(list)
    for trace in traces:
        scores = ranked(trace, ranking)
        above = int((scores > scores[list(trace.evidence)].max()).sum())
        recalls[trace.kind].append(above < k)
        ranks[trace.kind].append(1 / (1 + above))
    return RankingQuality(
        float(np.mean([np.mean(found) for found in recalls.values()])),
        float(np.mean([np.mean(found) for found in ranks.values()])),
    )


def best_voters(
    traces: Sequence[Traced], score: ScoreName, second_look: ScoreName | None, k: int
) -> tuple[Ranking, RankingQuality]:
    """The voters of one score: the best layer, then whichever helps most, until none does."""
    layers: tuple[int, ...] = ()
    best: tuple[Ranking, RankingQuality] | None = None
    while len(layers) < traces[0].num_layers:
        tried = [
            Ranking(
                score=score, second_look=second_look, voting_layers=tuple(sorted({*layers, layer}))
            )
            for layer in range(traces[0].num_layers)
            if layer not in layers
        ]
        found = [(ranking, evaluate(traces, ranking, k)) for ranking in tried]
        ranking, goodness = max(found, key=lambda pair: pair[1].goodness)
        if best is not None and goodness.goodness <= best[1].goodness + 1e-9:
            break
        best = (ranking, goodness)
        assert ranking.voting_layers is not None
        layers = ranking.voting_layers
    assert best is not None
    return best


def calibrated(
    traces: Sequence[Traced], k: int
) -> tuple[Ranking, list[tuple[Ranking, RankingQuality]]]:
    """The ranking to use, and the best ranking of each entry of `RANKINGS` with its quality."""
    found = [best_voters(traces, score, second_look, k) for score, second_look in RANKINGS]
    top = max(result.recall for _, result in found)
    ranking = next(ranking for ranking, result in found if result.recall >= top - AS_GOOD)
    return ranking.model_copy(update={"temperature": _temperature(traces, ranking)}), found


def _votes(scores: Floats, layers: Sequence[int]) -> Floats:
    voting = scores[list(layers)]
    deviation = np.maximum(voting.std(1, keepdims=True), 1e-6)
    total: Floats = ((voting - voting.mean(1, keepdims=True)) / deviation).sum(0)
    return total


def _temperature(traces: Sequence[Traced], ranking: Ranking) -> float:
    """The temperature at which a softmax of the scores gives the evidence the most probability."""

    def loss(temperature: float) -> float:
        losses = []
        for trace in traces:
            logits = ranked(trace, ranking) / temperature
            logits = logits - np.logaddexp.reduce(logits)
            losses.append(-np.logaddexp.reduce(logits[list(trace.evidence)]))
        return float(np.mean(losses))

    return min(TEMPERATURES, key=loss)
