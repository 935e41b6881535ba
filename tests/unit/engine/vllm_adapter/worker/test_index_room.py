"""An index that is larger than its memory on a device finds what it would find there whole."""

import logging
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.engine.memory.ranking import ScoreName
from onlooker.engine.vllm_adapter.worker.head_group import HeadGroup
from onlooker.engine.vllm_adapter.worker.index import Index
from onlooker.engine.vllm_adapter.worker.index_room import UNBOUNDED, IndexBudget, IndexRoom
from onlooker.engine.vllm_adapter.worker.scores import SCORES
from onlooker.engine.vllm_adapter.worker.streams import HostStreams
from tests.unit.engine.vllm_adapter.worker.test_clustered import (
    HEAD_DIM,
    KV_HEADS,
    LAYERS,
    STREAMS,
    Streams,
)

COUNT = 8
ROW_BYTES = LAYERS * KV_HEADS * HEAD_DIM * 4
COARSE_BYTES = LAYERS * 64


def index_of(budget: IndexBudget, score: ScoreName = "mean_key") -> Index:
    room = IndexRoom(
        torch.device("cpu"),
        HostStreams(),
        budget,
        score=SCORES[score],
        kv_heads=KV_HEADS,
        head_dim=HEAD_DIM,
    )
    return Index(room)


def room_for(num_whole: int, num_below: int, *, scan_rows: int = 64) -> IndexBudget:
    """A budget for so many rows of mean keys; of the device a half is for whole ones."""
    device_bytes = max(2 * num_below * COARSE_BYTES, num_whole * ROW_BYTES)
    assert device_bytes - num_below * COARSE_BYTES == num_whole * ROW_BYTES
    return IndexBudget(
        device_bytes=device_bytes, host_bytes=num_below * ROW_BYTES, scan_rows=scan_rows
    )


def key(number: int) -> str:
    return f"s/clip/{number:010d}"


def made(number: int) -> torch.Tensor:
    return torch.full((LAYERS, 1, KV_HEADS, HEAD_DIM), float(number))


def room_of(index: Index) -> IndexRoom:
    assert index.room is not None
    return index.room


class Stream:
    """A stream's keys, [clips, layers, tokens, kv_heads, head_dim], and questions about it."""

    def __init__(self, stream: Streams, count: int, num_tokens: int = 1) -> None:
        random = np.random.default_rng(7)
        rows = np.stack([stream(random, count) for _ in range(LAYERS)], 1)
        spread = 0.3 * np.median(np.abs(rows - rows.mean(0))) * (num_tokens > 1)
        tokens = rows + spread * random.standard_normal((num_tokens, *rows.shape), np.float32)
        keys = torch.from_numpy(tokens.astype("f"))
        shape = (count, LAYERS, num_tokens, KV_HEADS, HEAD_DIM)
        self.keys = keys.permute(1, 2, 0, 3).reshape(shape)
        self._random = random

    def __len__(self) -> int:
        return len(self.keys)

    def put_into(self, index: Index, score: ScoreName) -> None:
        for number, keys in enumerate(self.keys):
            index.put(key(number), SCORES[score].entries(keys, None))

    def questions(self) -> list[torch.Tensor]:
        """Questions about anything, and about the clips that differ most from the others."""
        anything = [self._random.standard_normal((1, KV_HEADS, HEAD_DIM)) for _ in range(8)]
        means = self.keys[:, 1].mean(1)
        apart = (means - means.mean(0)).flatten(1).norm(dim=1).argsort()[-8:]
        about = [means[clip] - means.mean(0) for clip in apart]
        near = [
            0.3 * one + clip.numpy() for one, clip in zip(anything, about, strict=True)
        ]  # fmt: skip
        return [torch.from_numpy(one.astype("f")) for one in (*anything, *near)]


def best(index: Index, score: ScoreName, count: int, question: torch.Tensor) -> set[int]:
    (group,) = index.groups([key(number) for number in range(count)])
    found = group.parts(SCORES[score], 1, question).amax(1)
    return set(found.topk(COUNT).indices.tolist())


def recall(stream: Stream, score: ScoreName, budget: IndexBudget) -> float:
    """The mean share of the best that is found, of those that comparing all finds."""
    tiered, whole = index_of(budget, score), Index()
    for index in (tiered, whole):
        stream.put_into(index, score)
    (group,) = tiered.groups([key(number) for number in range(len(stream))])
    below = group.below  # type: ignore[attr-defined]  # it lies on a device
    assert len(below.firsts) > budget.scan_rows, "else all would be compared"
    shares = []
    for question in stream.questions():
        found, expected = (best(one, score, len(stream), question) for one in (tiered, whole))
        shares.append(len(found & expected) / COUNT)
    return float(np.mean(shares))


@pytest.mark.parametrize("stream", STREAMS)
def test_the_best_by_mean_keys_are_found_wherever_they_lie(stream: Streams) -> None:
    budget = room_for(300, 600)
    assert recall(Stream(stream, 900), "mean_key", budget) >= 0.99


@pytest.mark.parametrize("score", ["token_keys_8bit", "token_keys_1bit"])
@pytest.mark.parametrize("stream", STREAMS)
def test_the_best_by_the_keys_of_tokens_are_found_wherever_they_lie(
    stream: Streams, score: ScoreName
) -> None:
    tokens = Stream(stream, 900, num_tokens=6)
    row_bytes = LAYERS * -(-SCORES[score].entries(tokens.keys[0], None)[0].numel() // 64) * 64
    budget = IndexBudget(
        device_bytes=300 * row_bytes + 600 * COARSE_BYTES,
        host_bytes=600 * row_bytes,
        scan_rows=128,
    )
    assert recall(tokens, score, budget) >= 0.99


steps = st.lists(
    st.tuples(st.sampled_from(["put", "put", "put", "discard"]), st.integers(0, 40)), max_size=200
)


@settings(max_examples=50)
@given(steps)
def test_it_holds_what_it_was_given_whatever_came_and_went(drawn: list[tuple[str, int]]) -> None:
    index, expected = index_of(room_for(8, 16)), dict[str, torch.Tensor]()
    for step, (what, number) in enumerate(drawn):
        if what == "put":
            index.put(key(number), made(step))
            expected[key(number)] = made(step)
        else:
            assert index.discard(key(number)) is (expected.pop(key(number), None) is not None)
    assert set(index) == set(expected)
    keys = list(expected)
    for group in index.groups(keys):
        for layer in range(LAYERS):
            for place, entries in zip(group.members.tolist(), group.entries(layer), strict=True):
                assert torch.equal(entries, expected[keys[place]][layer])


def test_the_oldest_go_below_and_the_device_gives_no_more_than_it_was_to() -> None:
    index = index_of(room_for(50, 100))
    for number in range(150):
        index.put(key(number), made(number))
    room = room_of(index)
    assert (room.num_sunk, room.num_over) == (100, 0)
    assert room.pools.whole.num_bytes == 50 * ROW_BYTES
    assert room.pools.coarse.num_bytes == 100 * COARSE_BYTES
    (oldest,), (newest,) = index.groups([key(99)]), index.groups([key(100)])
    assert oldest.below is not None  # type: ignore[attr-defined]  # it lies on a device
    assert newest.below is None  # type: ignore[attr-defined]  # it lies on a device
    assert index.num_bytes == 150 * ROW_BYTES + 100 * COARSE_BYTES


def test_who_has_all_heads_makes_no_list_of_where_each_clip_lies() -> None:
    """A day has 86,400 clips, and a list of that length takes milliseconds of a step."""

    class Alone(HeadGroup):
        def all(self, said: Sequence[bool]) -> list[bool]:
            raise AssertionError(f"nobody is to be told {len(said)} things")

    index = index_of(room_for(50, 100))
    for number in range(150):
        index.put(key(number), made(number))
    (group,) = index.groups([key(number) for number in range(150)], Alone())
    assert len(group.below.firsts) == 100  # type: ignore[attr-defined]  # it lies on a device


def test_what_is_forgotten_makes_room_wherever_it_lay() -> None:
    index = index_of(room_for(50, 100))
    for number in range(400):
        index.discard(key(number - 150))
        index.put(key(number), made(number))
    room = room_of(index)
    assert (len(index), room.num_over) == (150, 0)
    for number in range(250, 400):
        index.discard(key(number))
    assert [pool.num_bytes for pool in (room.pools.whole, room.pools.coarse, room.pools.below)] == [
        0, 0, 0,
    ]  # fmt: skip


def test_nothing_is_lost_where_more_is_remembered_than_there_is_room_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    index = index_of(room_for(50, 100))
    with caplog.at_level(logging.WARNING):
        for number in range(300):
            index.put(key(number), made(number))
    assert caplog.text.count("memory.index_gib") == 1, "it is told once"
    assert room_of(index).num_over >= 1
    (group,) = index.groups([key(number) for number in range(300)])
    assert group.entries(0)[:, 0, 0, 0].tolist() == list(range(300))


def test_where_there_is_no_bound_all_lies_on_the_device() -> None:
    index = index_of(UNBOUNDED)
    for number in range(300):
        index.put(key(number), made(number))
    assert (room_of(index).num_sunk, room_of(index).num_over) == (0, 0)
    (group,) = index.groups([key(number) for number in range(300)])
    assert group.entries(1)[:, 0, 0, 0].tolist() == list(range(300))


def test_those_that_are_not_compared_whole_count_as_worse_than_those_that_are() -> None:
    index = index_of(room_for(50, 100, scan_rows=10))
    random = torch.Generator().manual_seed(3)
    for number in range(150):
        entries = torch.randn(LAYERS, 1, KV_HEADS, HEAD_DIM, generator=random)
        index.put(key(number), entries)
    (group,) = index.groups([key(number) for number in range(100)])
    question = torch.randn(2, KV_HEADS, HEAD_DIM, generator=random)
    found = group.parts(SCORES["mean_key"], 0, question)[:, 0]
    exact = SCORES["mean_key"].compare(question, group.entries(0))
    compared = torch.isclose(found, exact, atol=1e-6)
    assert int(compared.sum()) >= 10
    assert found.topk(10).indices.tolist() == exact.topk(10).indices.tolist()
    assert float((found - exact).abs().max()) < 0.2, "and by what their coarse rows say"
