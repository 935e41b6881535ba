"""Closing streams while the workers' stores cannot be reached."""

from typing import Any, cast

from onlooker.core.clock import ManualClock
from onlooker.core.ids import StreamId
from onlooker.engine.memory.rotary_layout import RotaryLayout
from onlooker.engine.vllm_adapter import wire
from onlooker.engine.vllm_adapter.gateway.memories import DELETION_WAIT_S, StreamMemories
from onlooker.engine.vllm_adapter.gateway.runner import VllmRunner
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
        if call.method == "is_deleting":
            self.num_left -= 1
            return [self.num_left >= 0]
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
    assert workers.asked[1:] == ["drop_stream", *["is_deleting"] * 4]


async def test_closing_ends_though_a_tier_cannot_be_reached() -> None:
    assert DELETION_WAIT_S <= await closed(Workers(1_000_000)) < DELETION_WAIT_S + 0.2


async def test_what_is_not_to_be_forgotten_is_not_waited_for() -> None:
    workers = Workers(1_000_000)
    assert await closed(workers, forget=False) == 0.0
    assert "is_deleting" not in workers.asked
