"""Calibration finds the layers that know, and no more than it takes."""

from typing import get_args

import numpy as np
import pytest

from onlooker.demo_model.calibration import Traced, calibrated, evaluate, ranked
from onlooker.engine.memory.ranking import Ranking, ScoreName

LAYERS, CANDIDATES = 6, 300
SCORES: tuple[ScoreName, ...] = get_args(ScoreName)


def traces(
    knows: dict[ScoreName, dict[int, float]], count: int = 60, seed: int = 0
) -> list[Traced]:
    """Noise, in which some layers of some scores lift the evidence by so many deviations."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        evidence = int(rng.integers(CANDIDATES))
        scores = {name: rng.normal(size=(LAYERS, CANDIDATES)) for name in SCORES}
        for name, layers in knows.items():
            for layer, lift in layers.items():
                scores[name][layer, evidence] += lift
        found.append(Traced("ab"[number % 2], scores, (evidence,)))
    return found


def test_the_layer_that_knows_is_found() -> None:
    ranking, _ = calibrated(traces({"mean_key": {4: 6.0}}), k=4)
    assert (ranking.score, ranking.second_look, ranking.voting_layers) == ("mean_key", None, (4,))


def test_layers_that_know_a_little_vote_together() -> None:
    found = traces({"mean_key": {1: 2.2, 2: 2.2, 5: 2.2}})
    ranking, _ = calibrated(found, k=4)
    assert ranking.voting_layers is not None
    assert {1, 2, 5} <= set(ranking.voting_layers)
    alone = max(
        evaluate(found, Ranking(voting_layers=(layer,)), 4).recall for layer in range(LAYERS)
    )
    assert evaluate(found, ranking, 4).recall > alone + 0.2


def test_of_two_that_are_as_good_the_cheaper_is_taken() -> None:
    ranking, _ = calibrated(traces({"mean_key": {4: 6.0}, "late_interaction": {3: 9.0}}), k=4)
    assert ranking.score == "mean_key"
    assert ranking.second_look is None


def test_a_second_look_is_taken_where_the_shortlist_holds_what_it_needs() -> None:
    ranking, _ = calibrated(traces({"mean_key": {4: 2.8}, "late_interaction": {4: 6.0}}), k=4)
    assert (ranking.score, ranking.second_look) == ("mean_key", "late_interaction")


def test_where_only_the_finer_score_knows_the_index_holds_it() -> None:
    ranking, _ = calibrated(traces({"late_interaction": {0: 7.0}}), k=4)
    assert (ranking.score, ranking.voting_layers) == ("late_interaction", (0,))


def test_the_shortlist_bounds_what_a_second_look_can_find() -> None:
    (trace,) = traces({"late_interaction": {0: 9.0}}, count=1)
    looked = Ranking(
        score="mean_key", second_look="late_interaction", shortlist_clips=2, voting_layers=(0,)
    )
    scores = ranked(trace, looked)
    first = np.argsort(-trace.scores["mean_key"][0])[:2]
    assert set(np.argsort(-scores)[:2].tolist()) == set(first.tolist())


def test_the_temperature_says_how_sure_the_ranking_is() -> None:
    sure, _ = calibrated(traces({"mean_key": {4: 9.0}}), k=4)
    unsure, _ = calibrated(traces({"mean_key": {4: 2.0}}), k=4)
    assert sure.temperature < unsure.temperature


def test_kinds_count_alike_however_many_there_are() -> None:
    known = [one for one in traces({"mean_key": {4: 9.0}}, 40) if one.kind == "a"]
    unknown = [one for one in traces({}, 4, seed=1) if one.kind == "b"]
    found = evaluate([*known, *unknown], Ranking(voting_layers=(4,)), k=4)
    assert found.recall == pytest.approx(0.5, abs=0.05)
