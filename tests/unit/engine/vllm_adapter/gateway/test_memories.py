"""Closing streams, and deleting parts of them, while the workers' stores cannot be reached."""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from onlooker.core.clock import ManualClock
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.engine.interface import Forgotten
from onlooker.engine.memory.rotary_layout import RotaryLayout
from onlooker.engine.memory.stream_memory import StreamMemory
from onlooker.engine.vllm_adapter import wire
from onlooker.engine.vllm_adapter.gateway.memories import DELETION_WAIT_S, StreamMemories
from onlooker.engine.vllm_adapter.gateway.runner import VllmRunner
from tests.fakes.memory import make_tokens, remembered
from tests.fakes.streams import driven

DOOR, GATE = StreamId("acme/door"), StreamId("acme/gate")
LAYOUT = RotaryLayout(video_token=1, patch=16, merge=2, tokens_per_second=None)


class Workers:
    """One worker that remembers nothing and takes a while to delete."""

    def __init__(self, num_asked_until_deleted: int) -> None:
        self.num_left = num_asked_until_deleted
        self.asked: list[str] = []

    def healthy(self) -> bool:
        return True

    async def ask_workers(self, call: wire.WorkerCall[Any]) -> list[Any]:
        self.asked.append(call.method)
        if call.method == "stored_lives":
            return [wire.StoredLives([], is_complete=True)]
        if call.method == "unreached_tiers":
            self.num_left -= 1
            return [["redis"] if self.num_left >= 0 else []]
        return [0]


async def closed(workers: Workers, *, forget: bool = True) -> float:
    """Open and close a stream; returns how long the closing took."""
    clock = ManualClock()
    runner = cast(VllmRunner, workers)
    memories = StreamMemories(runner, clock, fingerprint="model-a", layout=LAYOUT)
    await memories.open(DOOR)
    await driven(clock, memories.close(DOOR, forget=forget))
    return clock.now_s()


async def test_closing_waits_until_the_stream_is_deleted() -> None:
    workers = Workers(3)
    assert 0 < await closed(workers) < DELETION_WAIT_S
    assert workers.asked[1:] == ["drop_stream", *["unreached_tiers"] * 4]


async def test_closing_ends_though_a_tier_cannot_be_reached() -> None:
    assert DELETION_WAIT_S <= await closed(Workers(1_000_000)) < DELETION_WAIT_S + 0.2


async def test_what_is_not_to_be_forgotten_is_not_waited_for() -> None:
    workers = Workers(1_000_000)
    assert await closed(workers, forget=False) == 0.0
    assert "unreached_tiers" not in workers.asked


async def kept_of(sizes: list[int], **limits: int) -> list[int]:
    """Remember clips of `sizes` tokens under limits; returns the indices of those that are left."""
    memories = StreamMemories(
        cast(VllmRunner, Workers(0)), ManualClock(), fingerprint="model-a", layout=LAYOUT
    )
    memories.max_clips = limits.get("max_clips", 1_000_000)
    memories.max_tokens = limits.get("max_tokens", 1_000_000)
    await memories.open(DOOR)
    for index, num_tokens in enumerate(sizes):
        tokens = make_tokens(memories[DOOR].clip_key(index), num_tokens=num_tokens)
        frame = Frame(index, float(index), 0.0, np.zeros((2, 2, 3), np.uint8))
        await memories.add(Clip(DOOR, index, (frame, frame)), tokens)
    return [clip.clip_index for clip in memories[DOOR].recent(1_000_000)]


async def test_small_clips_are_remembered_for_longer_than_large_ones() -> None:
    assert await kept_of([10] * 19, max_tokens=100) == list(range(9, 19))
    assert await kept_of([2] * 19, max_tokens=100) == list(range(19))
    assert await kept_of([10, *[2] * 18], max_tokens=40) == list(range(1, 19))


async def test_the_index_is_filled_by_clips_of_any_size() -> None:
    assert await kept_of([2] * 19, max_clips=10) == list(range(9, 19))


async def test_streams_share_the_room_and_the_longest_gives_way() -> None:
    memories = CountedMemories(
        cast(VllmRunner, Workers(0)), ManualClock(), fingerprint="model-a", layout=LAYOUT
    )
    memories.max_clips = 10
    for stream_id, count in ((DOOR, 6), (GATE, 8)):
        await memories.open(stream_id)
        await show(memories, stream_id, count)
        assert sum(map(len, memories)) <= 10
    assert (len(memories[DOOR]), len(memories[GATE])) == (5, 5)


async def test_far_from_full_not_every_clip_has_all_streams_counted() -> None:
    memories = CountedMemories(
        cast(VllmRunner, Workers(0)), ManualClock(), fingerprint="model-a", layout=LAYOUT
    )
    memories.max_clips = 100
    await memories.open(DOOR)
    await show(memories, DOOR, 20)
    assert memories.num_counted == 2  # clips, and tokens


class CountedMemories(StreamMemories):
    """Counts how often all streams are gone through."""

    num_counted = 0

    def __iter__(self) -> Iterator[StreamMemory]:
        self.num_counted += 1
        return super().__iter__()


async def show(memories: StreamMemories, stream_id: StreamId, count: int) -> None:
    for index in range(count):
        tokens = make_tokens(memories[stream_id].clip_key(index), num_tokens=2)
        frame = Frame(index, float(index), 0.0, np.zeros((2, 2, 3), np.uint8))
        await memories.add(Clip(stream_id, index, (frame, frame)), tokens)


async def forgotten(workers: Workers, **options: Any) -> tuple[Forgotten, float]:
    """Open a stream with ten clips and delete three; returns what is told, and how long it took."""
    clock = ManualClock()
    runner = cast(VllmRunner, workers)
    memories = StreamMemories(runner, clock, fingerprint="model-a", layout=LAYOUT)
    memories.bytes_per_token = 100
    await memories.open(DOOR)
    for index in range(10):
        memory = memories[DOOR]
        memory.add(remembered(memory.clip_key(index), index, num_tokens=3))
    span = {"start_s": 2.0, "end_s": 4.0, "is_aged": False, "max_clips": None, **options}
    told = await driven(clock, memories.forget(DOOR, **span))
    return told, clock.now_s()


async def test_a_deletion_tells_what_went_and_waits_until_it_is_done() -> None:
    workers = Workers(3)
    told, took_s = await forgotten(workers)
    assert told == Forgotten(clip_indices=frozenset({2, 3, 4}), num_bytes=3 * 3 * 100)
    assert workers.asked[1:] == ["delete_segments", *["unreached_tiers"] * 4]
    assert 0 < took_s < DELETION_WAIT_S


async def test_a_deletion_tells_the_tiers_that_it_did_not_reach() -> None:
    told, took_s = await forgotten(Workers(1_000_000))
    assert told.unreached == ("redis",)
    assert DELETION_WAIT_S <= took_s < DELETION_WAIT_S + 0.2


async def test_what_is_deleted_for_its_age_is_not_waited_for() -> None:
    workers = Workers(1_000_000)
    told, took_s = await forgotten(workers, is_aged=True, max_clips=2)
    assert told.clip_indices == {2, 3}
    assert (told.has_more, took_s) == (True, 0.0)
    assert workers.asked[1:] == ["delete_segments"]


async def test_nothing_is_asked_where_there_is_nothing_to_delete() -> None:
    workers = Workers(0)
    assert (await forgotten(workers, start_s=50.0, end_s=60.0))[0] == Forgotten()
    assert workers.asked == ["stored_lives"]


class SlowStore(Workers):
    """One worker whose store takes a while to answer; it lacks one segment."""

    def __init__(self, num_asked_until_answered: int) -> None:
        super().__init__(0)
        self.num_left = num_asked_until_answered
        self.firsts: list[Any] = []

    async def ask_workers(self, call: wire.WorkerCall[Any]) -> list[Any]:
        self.asked.append(call.method)
        self.firsts.append(call.args[1])
        self.num_left -= 1
        if self.num_left >= 0:
            return [None]
        if call.method == "stored_lives":
            return [wire.StoredLives([], is_complete=True)]
        return [["gone"]]


async def test_a_stream_is_opened_while_the_store_takes_its_time() -> None:
    workers, clock = SlowStore(3), ManualClock()
    runner = cast(VllmRunner, workers)
    memories = StreamMemories(runner, clock, fingerprint="model-a", layout=LAYOUT)
    await driven(clock, memories.open(DOOR))
    assert workers.asked == ["stored_lives"] * 4, "each call takes no time of the workers' steps"
    assert workers.firsts == [True, False, False, False]


async def test_what_is_missing_is_looked_for_while_others_go_on() -> None:
    workers, clock = SlowStore(0), ManualClock()
    runner = cast(VllmRunner, workers)
    memories = StreamMemories(runner, clock, fingerprint="model-a", layout=LAYOUT)
    await memories.open(DOOR)
    memory = memories[DOOR]
    memory.add(remembered("gone", 0))
    memory.add(remembered("there", 1))
    workers.num_left = 2
    assert await driven(clock, memories.forget_missing(memory))
    assert memory.keys() == ["there"]
    assert workers.firsts[1:] == [["gone", "there"], None, None], "the keys are sent once"


class SplitWorkers:
    """Two workers with half of the heads each."""

    def __init__(self, parts: list[wire.StoredSegments]) -> None:
        self.parts = parts
        self.dropped: list[list[str]] = []

    def healthy(self) -> bool:
        return True

    async def ask_workers(self, call: wire.WorkerCall[Any]) -> list[Any]:
        if call.method == "stored_lives":
            return [wire.StoredLives([7], is_complete=True)] * 2
        if call.method == "restore_stream":
            return self.parts
        if call.method == "worker_stock":
            return [wire.WorkerStock([], stats(1)), wire.WorkerStock(["k"], stats(2))]
        assert call.method == "drop_segments"
        self.dropped.append(call.args[2])
        return [0, 0]


def stats(number: int) -> wire.WorkerStats:
    """What one half holds: nearly as many segments as the other, and its own bytes."""
    tier = {"hits": 10 + number, "used_bytes": 1000, "num_records": 5}
    return wire.WorkerStats(
        segments=3, bytes=600, fetched=0, tiers={"disk": tier}, moves={"demoted": number},
        index_rows=4, index_bytes=80, index_row_bytes=20, token_bytes=100,
    )  # fmt: skip


def split(workers: SplitWorkers) -> StreamMemories:
    runner = cast(VllmRunner, workers)
    return StreamMemories(runner, ManualClock(), fingerprint="model-a", layout=LAYOUT)


async def test_what_half_of_the_workers_hold_of_the_same_segments_is_counted_once() -> None:
    stock = await split(SplitWorkers([])).take_stock({})
    assert stock.held is not None
    assert (stock.held.num_segments, stock.held.num_bytes) == (3, 1200)
    assert (stock.held.num_indexed, stock.held.index_bytes) == (4, 160)
    assert stock.tiers == {"disk": {"hits": 12, "used_bytes": 2000, "num_records": 5}}
    assert stock.moves == {"demoted": 2}


async def test_what_gateways_share_is_told_by_one_of_them_lest_it_be_counted_by_each() -> None:
    runner = cast(VllmRunner, SplitWorkers([]))
    memories = StreamMemories(
        runner, ManualClock(), fingerprint="model-a", layout=LAYOUT, is_shared=True,
        tells_workers=False,
    )  # fmt: skip
    stock = await memories.take_stock({})
    assert (stock.held, stock.tiers, stock.moves) == (None, {}, {})


async def test_a_segment_of_which_a_half_is_lost_is_not_remembered() -> None:
    sinks = [f"model-a/acme/door/7/sink/{index:010d}" for index in range(2)]
    both = [wire.StoredSegment(key, 0.0, 0.0, {}) for key in sinks]
    workers = SplitWorkers(
        [wire.StoredSegments(some, is_complete=True, is_done=True) for some in (both, both[:1])]
    )
    memories = split(workers)
    await memories.open(DOOR)
    assert memories[DOOR].sinks == {sinks[0]}
    assert workers.dropped == [[sinks[1]]]


async def test_it_is_known_whether_the_workers_hold_all() -> None:
    """Else a question asks first which clips to fetch."""
    memories = split(SplitWorkers([wire.StoredSegments([], is_complete=True, is_done=True)] * 2))
    await memories.open(DOOR)
    for index in range(4):
        memories[DOOR].add(remembered(memories[DOOR].clip_key(index), index))
        await memories.take_stock({})
        assert memories.holds_all is (index < 3), "both hold three"


async def test_making_room_ends_where_only_second_segments_are_left() -> None:
    class Full(SplitWorkers):
        async def ask_workers(self, call: wire.WorkerCall[Any]) -> list[Any]:
            assert call.method != "drop_segments", "there is no clip to let go of"
            return await super().ask_workers(call)

    memories = split(Full([wire.StoredSegments([], is_complete=True, is_done=True)] * 2))
    await memories.open(DOOR)
    memories.max_clips = 2
    memories[DOOR].twins |= {index: memories[DOOR].clip_key(index) for index in range(4)}
    await memories.make_room(1)
    assert len(memories[DOOR].twins) == 4


async def test_what_is_held_of_a_clip_twice_does_not_stand_for_another() -> None:
    memories = split(SplitWorkers([wire.StoredSegments([], is_complete=True, is_done=True)] * 2))
    await memories.open(DOOR)
    for index in range(3):
        memories[DOOR].add(remembered(memories[DOOR].clip_key(index), index))
    memories[DOOR].twins[0] = memories[DOOR].compacted_key(0)
    await memories.take_stock({})
    assert not memories.holds_all, "they hold three of four"


async def test_of_a_clip_that_was_being_compacted_in_a_crash_the_smaller_one_is_kept() -> None:
    """Both are whole; the first is known as its twin, which goes once the other is as safe."""
    meta = {"token_ids": "[0, 1, 1, 1, 1, 2]", "grid": "[1, 4, 4]"}
    clip = "model-a/acme/door/7/clip/{:010d}"
    compacted = "model-a/acme/door/7/compacted/{:010d}"
    found = [
        wire.StoredSegment(clip.format(1), 1.0, 1.5, meta),
        wire.StoredSegment(clip.format(2), 2.0, 2.5, meta),
        wire.StoredSegment(compacted.format(0), 0.0, 0.5, {**meta, "left": "[0, 2]"}),
        wire.StoredSegment(compacted.format(1), 1.0, 1.5, {**meta, "left": "[1, 4, 5]"}),
    ]
    memories = split(SplitWorkers([wire.StoredSegments(found, is_complete=True, is_done=True)] * 2))
    await memories.open(DOOR)
    memory = memories[DOOR]
    assert not memory.is_incomplete
    assert memory.keys() == [compacted.format(0), compacted.format(1), clip.format(2)]
    assert [len(one.tokens.token_ids) for one in memory.recent(9)] == [2, 3, 6]
    assert memory.twins == {1: clip.format(1)}
