"""Retrieval attends to what it says, and a probe chooses what the reference ranks best."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onlooker.engine.vllm_adapter.wire import read_report
from tests.vllm.rig import (
    NUM_CLIPS,
    NUM_TOKENS,
    SCORE_OF,
    Rebuilt,
    answer,
    assert_same,
    clip_of,
    ingest,
    logits_of,
    new_prompt,
    picks,
    question_ids,
    result_of,
    retrieving,
    sink_ids,
    votes_of,
)

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]


# ---- retrieval ----


@settings(
    max_examples=12, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_any_retrieval_attends_to_what_it_says(
    vllm: Any, whole: Rebuilt, data: st.DataObject
) -> None:
    recent = sorted(data.draw(st.sets(st.integers(0, NUM_CLIPS - 1), max_size=4)))
    num_slots = data.draw(st.integers(1, NUM_CLIPS - len(recent)))
    score = data.draw(st.sampled_from(["mean_key", "page_mean", "late_interaction"]))
    finer = data.draw(st.sampled_from([None, "representatives", "late_interaction"]))
    voters = data.draw(st.none() | st.lists(st.integers(0, 4), min_size=1, unique=True))
    mass = data.draw(st.none() | st.floats(0.05, 0.95))
    ranking = {
        "score": score, "second_look": None if finer == score else finer, "shortlist_clips": 3,
        "voting_layers": voters,
    }  # fmt: skip
    vllm.choose_by(ranking=ranking, mass=mass)
    try:
        output = vllm.run(retrieving(vllm, num_slots, recent), max_tokens=NUM_TOKENS, logprobs=1)
    finally:
        vllm.choose_by()
    picked = picks(output)
    assert all(layer == sorted(set(layer)) and len(layer) == num_slots for layer in picked)
    slots = [[whole.pieces[layer[slot]] for layer in picked] for slot in range(num_slots)]
    expected = whole.answer(vllm, [*slots, *(whole.pieces[i] for i in recent)])
    assert_same(result_of(output), expected)


def test_retrieving_all_clips_equals_no_retrieval(vllm: Any) -> None:
    output = vllm.run(retrieving(vllm, NUM_CLIPS, []), max_tokens=NUM_TOKENS, logprobs=1)
    assert all(layer == list(range(NUM_CLIPS)) for layer in picks(output))
    assert_same(result_of(output), result_of(answer(vllm, range(NUM_CLIPS))))


@pytest.mark.parametrize("num_slots", [1, 3])
def test_each_layer_attends_to_what_it_picked(vllm: Any, whole: Rebuilt, num_slots: int) -> None:
    recent = [6, 7]
    output = vllm.run(retrieving(vllm, num_slots, recent), max_tokens=NUM_TOKENS, logprobs=1)
    picked = picks(output)
    assert all(len(layer) == num_slots and layer == sorted(layer) for layer in picked)
    slots = [[whole.pieces[layer[slot]] for layer in picked] for slot in range(num_slots)]
    expected = whole.answer(vllm, [*slots, *(whole.pieces[i] for i in recent)])
    assert_same(result_of(output), expected)


# ---- choosing ----


@pytest.fixture
def choosing(vllm: Any) -> Iterator[Any]:
    """Sets how the worker chooses; afterwards it is as before."""
    yield vllm.choose_by
    vllm.choose_by()


def _probe(vllm: Any, num_wanted: int, older: Sequence[int], recent: Sequence[int]) -> Any:
    builder = new_prompt()
    builder.load_text("sink", sink_ids(vllm))
    for index in recent:
        builder.load_clip(clip_of(vllm, index, "whole")[0])
    builder.probe(
        [f"whole/{index}" for index in older], num_wanted, [f"whole/{index}" for index in recent]
    )
    builder.question(question_ids(vllm))
    return builder


def _probed(vllm: Any, num_wanted: int, recent: Sequence[int] = (6, 7)) -> list[int]:
    older = [index for index in range(NUM_CLIPS) if index not in recent]
    (chosen,) = picks(vllm.run(_probe(vllm, num_wanted, older, recent)))
    return chosen


@pytest.mark.parametrize("score", list(SCORE_OF))
@pytest.mark.parametrize("layers", [(2,), (1, 3), None], ids=str)
def test_a_probe_chooses_what_the_reference_ranks_best(
    vllm: Any, whole: Rebuilt, choosing: Any, score: str, layers: tuple[int, ...] | None
) -> None:
    choosing(ranking={"score": score, "voting_layers": layers})
    num_layers = len(whole.pieces[0].keys)
    votes = votes_of(vllm, whole, score, range(num_layers) if layers is None else layers)
    order = sorted(range(6), key=lambda i: -votes[i])
    for num_wanted in (1, 3, 6):
        assert _probed(vllm, num_wanted) == sorted(order[:num_wanted])


def test_a_second_look_over_all_candidates_is_the_finer_score(vllm: Any, choosing: Any) -> None:
    choosing(ranking={"score": "late_interaction", "voting_layers": [2]})
    expected = _probed(vllm, 2)
    choosing(ranking={"second_look": "late_interaction", "voting_layers": [2]})
    assert _probed(vllm, 2) == expected


def test_a_second_look_stays_within_the_shortlist_and_reads_no_more(
    vllm: Any, choosing: Any
) -> None:
    choosing(ranking={"voting_layers": [2]})
    short = _probed(vllm, 2)
    choosing(ranking={"second_look": "page_mean", "shortlist_clips": 2, "voting_layers": [2]})
    output = vllm.run(_probe(vllm, 1, range(6), [6, 7]))
    assert set(picks(output)[0]) <= set(short)
    read = read_report(output.kv_transfer_params).read
    assert set(read) == {"sink", *(f"whole/{index}" for index in (*short, 6, 7))}


def test_mass_brings_back_no_more_than_it_takes(vllm: Any, whole: Rebuilt, choosing: Any) -> None:
    import torch

    choosing(ranking={"voting_layers": [2]}, mass=0.5)
    shares = torch.softmax(torch.tensor(votes_of(vllm, whole, "mean_key", [2])), 0)
    order = shares.argsort(descending=True).tolist()
    wanted = 1 + sum(bool(shares[order[: n + 1]].sum() < 0.5) for n in range(6))
    assert wanted < 5
    assert _probed(vllm, 5) == sorted(order[:wanted])


def test_in_one_pass_what_mass_does_not_need_shows_the_newest(
    vllm: Any, whole: Rebuilt, choosing: Any
) -> None:
    choosing(mass=0.01)  # one clip is enough
    output = vllm.run(retrieving(vllm, 3, [6, 7]), max_tokens=NUM_TOKENS, logprobs=1)
    picked = picks(output)
    assert all({4, 5} <= set(layer) or layer == [3, 4, 5] for layer in picked)
    slots = [[whole.pieces[layer[slot]] for layer in picked] for slot in range(3)]
    expected = whole.answer(vllm, [*slots, whole.pieces[6], whole.pieces[7]])
    assert_same(result_of(output), expected)


def test_layers_after_a_voter_share_its_choice(vllm: Any, whole: Rebuilt, choosing: Any) -> None:
    choosing(ranking={"voting_layers": [2]})
    output = vllm.run(retrieving(vllm, 2, [6, 7]), max_tokens=NUM_TOKENS, logprobs=1)
    picked = picks(output)
    assert picked[2] == picked[3] == picked[-1]
    slots = [[whole.pieces[layer[slot]] for layer in picked] for slot in range(2)]
    expected = whole.answer(vllm, [*slots, whole.pieces[6], whole.pieces[7]])
    assert_same(result_of(output), expected)


def test_the_gate_brings_back_nothing_when_the_window_matches_best(
    vllm: Any, whole: Rebuilt, choosing: Any
) -> None:
    choosing(ranking={"voting_layers": [2]}, gates=True)
    tokens = whole.reference.text(question_ids(vllm))
    outcomes = set()
    for window in range(NUM_CLIPS):
        past = whole.past([whole.pieces[window]])
        asked, _ = whole.reference.run(tokens, whole.place(1), past)
        scores = [float(logits_of(asked, piece, 2).mean()) for piece in whole.pieces]
        is_now = max(scores) == scores[window]
        assert (_probed(vllm, 2, recent=(window,)) == []) is is_now
        outcomes.add(is_now)
    assert outcomes == {True, False}


def test_representatives_are_those_that_the_clip_s_own_queries_attend_to(
    vllm: Any, whole: Rebuilt, choosing: Any
) -> None:
    import torch

    choosing(ranking={"score": "representatives"})
    ingest(vllm, 5, range(5), "whole", into="represented")
    (group,) = vllm.arena.index.groups(["represented/5"])
    piece = whole.pieces[5]
    for layer, keys in enumerate(piece.keys):
        logits = logits_of(piece, piece, layer).sum(0)
        attended = torch.stack([logits[token:, token].mean() for token in range(len(keys))])
        best = attended.topk(4).indices.sort().values
        assert float((group.entries(layer)[0] - keys[best]).abs().max()) <= 1e-4
