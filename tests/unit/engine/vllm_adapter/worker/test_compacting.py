"""Smaller segments made of stored ones: what is left has the bytes that it had."""

import time
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.cache_store.config import CacheStoreSection
from onlooker.engine.memory.compaction import Blend
from onlooker.engine.memory.key_runs import KeyRuns
from onlooker.engine.memory.plan import SaveSpan
from onlooker.engine.memory.ranking import ScoreName
from onlooker.engine.vllm_adapter.wire import CompactOp, MeasureOp
from onlooker.engine.vllm_adapter.worker.arena import Segment, SegmentArena
from onlooker.engine.vllm_adapter.worker.compacting import Compacting, attention
from onlooker.engine.vllm_adapter.worker.inquiries import Inquiries
from onlooker.engine.vllm_adapter.worker.rotary import Rotary
from onlooker.engine.vllm_adapter.worker.scores import SCORES
from onlooker.engine.vllm_adapter.worker.vault import Vault
from tests.fakes.attention import DIM, HEADS, make_rotary
from tests.fakes.waiting import WAIT_S

LAYERS = 3
BASE = 40
ROTARY = Rotary.of(make_rotary())


class Bench:
    """An arena, with a store below or without, and what compacts in it."""

    def __init__(self, score: ScoreName = "token_keys_8bit", *, stores: bool = False) -> None:
        self.vault = Vault(CacheStoreSection(), ROTARY, score=score) if stores else None
        self.arena = SegmentArena(score=SCORES[score], backing=self.vault)
        self.inquiries = Inquiries()
        self.compacting = Compacting(self.arena, self.vault, ROTARY, self.inquiries, lambda: None)

    def close(self) -> None:
        self.inquiries.close()
        if self.vault is not None:
            self.vault.close()

    def keep(self, key: str, num_tokens: int, *, seed: int = 0, is_plain: bool = True) -> Segment:
        """Keep a segment of random keys and values."""
        rng = torch.Generator().manual_seed(seed)
        shape = (LAYERS, num_tokens, HEADS, DIM)
        keys, values = torch.randn(shape, generator=rng), torch.randn(shape, generator=rng)
        offsets = [list(range(num_tokens))] * 3
        plain = ROTARY.remove(keys, torch.tensor(offsets) + BASE)
        if is_plain:
            segment = Segment(keys, values, BASE, plain)
        else:
            segment = Segment(keys, values, BASE, None, offsets)
        entries = self.arena.entries(plain)
        self.arena.put(key, segment, entries)
        if self.vault is not None:
            span = SaveSpan(key, 0, num_tokens, BASE, offsets)
            self.vault.save(span, segment, entries)
        return segment

    def compact(self, key: str, new: str, left: list[Blend]) -> list[str]:
        span = SaveSpan(new, 0, len(left), 0, [[row for row, _ in left]] * 3)
        made: list[str] = answered(self.compacting.compact, [CompactOp(key, span, left)])
        self.compacting.take_up(made)
        return made

    def measure(self, op: MeasureOp) -> dict[str, list[float]]:
        found: dict[str, list[float]] = answered(self.compacting.measure, op)
        return found

    def indexed(self, key: str) -> torch.Tensor:
        """What the index keeps of a segment, [layers, entries, heads, ...]."""
        (group,) = self.arena.index.groups(KeyRuns.of([key]))
        return torch.stack([group.entries(layer)[0] for layer in range(LAYERS)])


def answered(call: Any, op: Any) -> Any:
    """Ask until there is an answer."""
    found = call("it", op)
    until_s = time.monotonic() + WAIT_S
    while found is None:
        assert time.monotonic() < until_s
        found = call("it", None)
    return found


OLD, NEW = "m/t/s/0/clip/0000000001", "m/t/s/0/compacted/0000000001"


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.data(), st.booleans())
def test_tokens_that_stay_have_the_bytes_that_they_had(
    num_tokens: int, data: st.DataObject, is_plain: bool
) -> None:
    bench = Bench()
    whole = bench.keep(OLD, num_tokens, seed=num_tokens, is_plain=is_plain)
    drawn = data.draw(st.sets(st.integers(0, num_tokens - 1), min_size=1))
    rows = sorted(drawn)
    assert bench.compact(OLD, NEW, [(row, [row]) for row in rows]) == [NEW]
    found = bench.arena.get(NEW)
    assert found is not None
    assert found.base == whole.base
    assert torch.equal(found.keys, whole.keys[:, rows])
    assert torch.equal(found.values, whole.values[:, rows])
    for layer in range(LAYERS):
        before, after = whole.plain_in(layer, ROTARY), found.plain_in(layer, ROTARY)
        assert before is not None
        assert after is not None
        assert torch.equal(after, before[rows])
    assert bench.arena.get(OLD) is whole, "who reads the first goes on doing so"
    bench.close()


@pytest.mark.parametrize("score", ["token_keys_8bit", "token_keys_1bit", "late_interaction"])
def test_keys_of_tokens_in_the_index_are_those_of_the_tokens_that_are_left(
    score: ScoreName,
) -> None:
    bench = Bench(score)
    whole = bench.keep(OLD, 9)
    bench.compact(OLD, NEW, [(row, [row]) for row in (1, 4, 8)])
    assert whole.plain_keys is not None
    expected = bench.arena.entries(whole.plain_keys[:, [1, 4, 8]])
    assert torch.equal(bench.indexed(NEW), expected)
    bench.close()


@pytest.mark.parametrize("score", ["mean_key", "page_mean"])
def test_a_mean_in_the_index_is_still_that_of_the_whole_clip(score: ScoreName) -> None:
    bench = Bench(score)
    bench.keep(OLD, 9)
    bench.compact(OLD, NEW, [(1, [1])])
    assert torch.equal(bench.indexed(NEW), bench.indexed(OLD))
    bench.close()


def test_tokens_that_are_put_together_are_their_mean_at_the_place_of_one() -> None:
    bench = Bench()
    whole = bench.keep(OLD, 5)
    bench.compact(OLD, NEW, [(0, [0]), (2, [1, 2, 4])])
    found = bench.arena.get(NEW)
    assert found is not None
    assert whole.plain_keys is not None
    mean = whole.plain_keys[:, [1, 2, 4]].mean(1, keepdim=True)
    place = torch.full((3, 1), BASE + 2)
    assert torch.allclose(ROTARY.remove(found.keys[:, 1:], place), mean, atol=1e-5)
    assert found.plain_keys is not None
    assert torch.allclose(found.plain_keys[:, 1:], mean)
    assert torch.allclose(found.values[:, 1], whole.values[:, [1, 2, 4]].mean(1))
    assert torch.equal(found.keys[:, 0], whole.keys[:, 0])
    bench.close()


def test_what_only_the_store_has_is_compacted_there() -> None:
    bench = Bench(stores=True)
    whole = bench.keep(OLD, 6)
    assert bench.arena.drop_prefix(OLD) == 1
    assert bench.vault is not None
    assert bench.compact(OLD, NEW, [(2, [2]), (5, [5])]) == [NEW]
    assert len(bench.arena) == 0, "it takes no room from what is held ready"
    assert NEW in bench.arena.index
    found, _ = bench.vault.load([NEW])[NEW]
    assert torch.equal(found.keys, whole.keys[:, [2, 5]])
    assert found.plain_keys is not None
    assert torch.allclose(found.plain_keys, bench.compacting._plain(whole)[:, [2, 5]], atol=1e-5)
    bench.close()


def test_a_segment_that_is_gone_is_not_made() -> None:
    bench = Bench(stores=True)
    assert bench.compact(OLD, NEW, [(0, [0])]) == []
    assert bench.measure(MeasureOp("value_norm", OLD, {OLD: []})) == {}
    bench.close()


def test_what_was_made_and_is_not_taken_up_is_given_up() -> None:
    bench = Bench()
    bench.keep(OLD, 3)
    span = SaveSpan(NEW, 0, 1, 0, [[0]] * 3)
    answered(bench.compacting.compact, [CompactOp(OLD, span, [(0, [0])])])
    bench.compacting.take_up([])
    assert bench.arena.get(NEW) is None
    assert NEW not in bench.arena.index
    bench.close()


def test_large_values_measure_large() -> None:
    bench = Bench()
    segment = bench.keep(OLD, 4)
    segment.values[:, 2] *= 10
    (measured,) = bench.measure(MeasureOp("value_norm", OLD, {OLD: []})).values()
    assert len(measured) == 4
    assert max(measured) == measured[2]
    bench.close()


def test_equal_tokens_are_alike_and_others_less() -> None:
    bench = Bench()
    segment = bench.keep(OLD, 3)
    assert segment.plain_keys is not None
    segment.values[:, 1] = segment.values[:, 0]
    segment.plain_keys[:, 1] = segment.plain_keys[:, 0]
    (measured,) = bench.measure(MeasureOp("likeness", OLD, {OLD: [(0, 1), (1, 2)]})).values()
    assert measured[0] == pytest.approx(1.0)
    assert measured[1] < 0.9
    bench.close()


def test_attention_is_that_of_the_newest_clips_queries() -> None:
    bench = Bench()
    segment = bench.keep(OLD, 5)
    assert segment.plain_keys is not None
    newest = "m/t/s/0/clip/0000000002"
    queries = segment.plain_keys[:, [3]].repeat(1, 2, 1, 1) * 50
    bench.compacting.note_queries(newest, queries)
    (measured,) = bench.measure(MeasureOp("attention", newest, {OLD: []})).values()
    assert max(measured) == measured[3]
    assert sum(measured) == pytest.approx(1.0)
    assert measured == pytest.approx(attention(queries, segment.plain_keys).tolist())
    bench.close()


def test_where_queries_were_not_kept_keys_of_the_newest_clip_stand_in_for_them() -> None:
    bench = Bench()
    segment, newest = bench.keep(OLD, 5), "m/t/s/0/clip/0000000002"
    asking = bench.keep(newest, 20, seed=1)
    assert segment.plain_keys is not None
    assert asking.plain_keys is not None
    (measured,) = bench.measure(MeasureOp("attention", newest, {OLD: []})).values()
    expected = attention(asking.plain_keys[:, -16:], segment.plain_keys)
    assert measured == pytest.approx(expected.tolist())
    bench.close()


def test_queries_of_a_stream_that_is_let_go_are_let_go() -> None:
    bench = Bench()
    bench.keep(OLD, 5)
    bench.compacting.note_queries("m/t/s/0/clip/0000000002", torch.zeros(LAYERS, 1, HEADS, DIM))
    bench.compacting.forget("m/t/s/0/")
    assert bench.measure(MeasureOp("attention", "m/t/s/0/clip/0000000002", {OLD: []})) == {}
    bench.close()
