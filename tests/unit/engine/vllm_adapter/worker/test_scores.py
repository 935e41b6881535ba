"""Scores against what their papers say, written out in loops."""

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onlooker.engine.memory.ranking import ScoreName
from onlooker.engine.vllm_adapter.worker.scores import (
    SCORES,
    LateInteraction,
    MeanKey,
    PageMean,
    Representatives,
)

LAYERS = 2
shapes = st.tuples(
    st.integers(1, 6),  # question tokens
    st.integers(1, 3),  # key heads
    st.integers(1, 3),  # query heads for each of them
    st.sampled_from([2, 4, 8]),  # head size
    st.integers(1, 5),  # segments
    st.integers(1, 40),  # tokens of a segment
    st.integers(0, 2**31),
)


def drawn(
    shape: tuple[int, ...],
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """Queries of a question; keys and queries of segments."""
    num_queries, kv_heads, group, dim, num_segments, num_tokens, seed = shape
    torch.manual_seed(seed)
    keys = [torch.randn(LAYERS, num_tokens, kv_heads, dim) for _ in range(num_segments)]
    asked_by = [torch.randn(LAYERS, num_tokens, kv_heads * group, dim) for _ in keys]
    return torch.randn(num_queries, kv_heads * group, dim), keys, asked_by


def logits(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """[heads, query tokens, key tokens], head by head."""
    group = queries.shape[1] // keys.shape[1]
    return torch.stack(
        [
            queries[:, head] @ keys[:, head // group].T / keys.shape[-1] ** 0.5
            for head in range(queries.shape[1])
        ]
    )


def compared(name: ScoreName, queries: torch.Tensor, keys: list[torch.Tensor]) -> torch.Tensor:
    entries = [SCORES[name].entries(one, None)[1] for one in keys]
    return SCORES[name].compare(queries, torch.stack(entries))


def test_every_score_of_the_settings_is_there() -> None:
    assert set(SCORES) == set(get_args(ScoreName))


@given(shapes)
def test_mean_key_is_the_mean_of_all_logits(shape: tuple[int, ...]) -> None:
    queries, keys, _ = drawn(shape)
    expected = [logits(queries, one[1]).mean() for one in keys]
    found = compared("mean_key", queries, keys)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-4)


@given(shapes)
def test_late_interaction_is_the_mean_of_each_query_s_best_key(shape: tuple[int, ...]) -> None:
    queries, keys, _ = drawn(shape)
    expected = [logits(queries, one[1]).amax(-1).mean() for one in keys]
    found = compared("late_interaction", queries, keys)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-4)


@given(shapes, st.integers(1, 20))
def test_page_mean_is_the_best_page(shape: tuple[int, ...], page: int) -> None:
    queries, keys, _ = drawn(shape)
    expected = [
        max(float(logits(queries, part).mean()) for part in torch.split(one[1], page))
        for one in keys
    ]
    score = PageMean(page)
    found = score.compare(queries, torch.stack([score.entries(one, None)[1] for one in keys]))
    assert found.tolist() == pytest.approx(expected, abs=1e-4)


@given(shapes, st.integers(1, 6))
def test_representatives_are_the_keys_that_later_tokens_attend_to_most(
    shape: tuple[int, ...], count: int
) -> None:
    queries, keys, asked_by = drawn(shape)
    score = Representatives(count)
    for one, own in zip(keys, asked_by, strict=True):
        entries = score.entries(one, own)
        for layer in range(LAYERS):
            weights = logits(own[layer], one[layer]).sum(0)  # [queries, keys]
            attended = [float(weights[token:, token].mean()) for token in range(one.shape[1])]
            best = sorted(sorted(range(len(attended)), key=lambda t: -attended[t])[:count])
            torch.testing.assert_close(entries[layer], one[layer][best])
        expected = float(logits(queries, entries[1]).mean())
        assert float(score.compare(queries, entries[1:])[0]) == pytest.approx(expected, abs=1e-4)


@given(shapes)
def test_what_is_one_token_is_the_same_by_any_score(shape: tuple[int, ...]) -> None:
    queries, keys, _ = drawn((*shape[:5], 1, shape[6]))
    first, *others = (compared(name, queries, keys) for name in SCORES)
    for score, other in zip(list(SCORES.values())[1:], others, strict=True):
        if len(queries) == 1 and not score.is_packed:  # a mean over one query is that query
            torch.testing.assert_close(other, first, atol=1e-5, rtol=1e-4)


def test_small_evidence_is_diluted_by_a_mean_and_found_by_late_interaction() -> None:
    torch.manual_seed(0)
    wanted = torch.randn(8) * 4
    noise = 0.3 * torch.randn(200, LAYERS, 32, 1, 8)
    noise[:, :, :, 0] += 0.05 * wanted  # everything leans a little towards what is asked
    noise[77, :, 5, 0] = wanted
    noise[77, :, 6, 0] = -wanted * 0.9  # and something beside it cancels it in the mean
    queries = wanted.expand(3, 2, 8).clone()
    ranks = {}
    for score in (MeanKey(), PageMean(4), LateInteraction()):
        entries = torch.stack([score.entries(one, None)[0] for one in noise])
        scores = score.compare(queries, entries)
        ranks[type(score)] = int((scores > scores[77]).sum())
    assert ranks[LateInteraction] == 0
    assert ranks[MeanKey] > 20
