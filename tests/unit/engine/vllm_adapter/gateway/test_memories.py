"""Closing streams, and deleting parts of them, while the workers' stores cannot be reached."""

from typing import Any, cast

from onlooker.core.clock import ManualClock
from onlooker.core.ids import StreamId
from onlooker.engine.interface import Forgotten
from onlooker.engine.memory.rotary_layout import RotaryLayout
from onlooker.engine.vllm_adapter import wire
from onlooker.engine.vllm_adapter.gateway.memories import DELETION_WAIT_S, StreamMemories
from onlooker.engine.vllm_adapter.gateway.runner import VllmRunner
from tests.fakes.memory import remembered
from tests.fakes.streams import driven

DOOR = StreamId("acme/door")
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
