"""The client's queue: bounded, in order, and nothing lost that must not be."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.clients.python.outbox import MAX_EVENTS, FrameOutbox
from onlooker.core.errors import Overloaded


async def take_all(outbox: FrameOutbox) -> list[str | bytes]:
    taken: list[str | bytes] = []
    try:
        while True:
            async with asyncio.timeout(0):
                taken.append(await outbox.take())
    except TimeoutError:
        return taken


async def test_live_questions_go_before_frames() -> None:
    outbox = FrameOutbox(max_frames=2, keep_unacknowledged=False)
    outbox.put_newest(1, b"frame")
    outbox.put_event("question")
    assert await take_all(outbox) == ["question", b"frame"]


async def test_on_the_virtual_clock_a_question_follows_the_frames_before_it() -> None:
    outbox = FrameOutbox(max_frames=4, keep_unacknowledged=True)
    await outbox.put_frame(1, b"before")
    outbox.put_event("question")
    await outbox.put_frame(2, b"after")
    outbox.put_event("another")
    assert await take_all(outbox) == [b"before", "question", b"after", "another"]


async def test_a_full_queue_of_events_says_so() -> None:
    outbox = FrameOutbox(max_frames=2, keep_unacknowledged=False)
    for _ in range(MAX_EVENTS):
        outbox.put_event("x")
    with pytest.raises(Overloaded):
        outbox.put_event("one more")
    outbox.connection_lost()
    outbox.put_event("fresh")
    assert await take_all(outbox) == ["fresh"]


@given(st.lists(st.sampled_from(["put", "take"]), max_size=60), st.integers(1, 4))
def test_live_frames_come_newest_first_to_stay_and_in_order(steps: list[str], room: int) -> None:
    async def run() -> None:
        outbox = FrameOutbox(max_frames=room, keep_unacknowledged=False)
        waiting: list[int] = []
        num_put = 0
        for step in steps:
            if step == "put":
                num_put += 1
                outbox.put_newest(num_put, bytes([num_put]))
                waiting = [*waiting, num_put][-room:]
            elif waiting:
                assert await outbox.take() == bytes([waiting.pop(0)])
            assert outbox.num_waiting == len(waiting) <= room

    asyncio.run(run())


@given(
    st.lists(st.one_of(st.just("take"), st.just("lose"), st.integers(0, 12)), max_size=80),
)
def test_virtual_frames_are_sent_until_acknowledged(steps: list[str | int]) -> None:
    async def run() -> None:
        total, room = 12, 4
        outbox = FrameOutbox(max_frames=room, keep_unacknowledged=True)

        async def fill() -> None:
            for number in range(1, total + 1):
                await outbox.put_frame(number, bytes([number]))

        filling = asyncio.create_task(fill())
        delivered: set[int] = set()
        last, acknowledged = 0, 0

        async def take() -> None:
            nonlocal last
            await asyncio.sleep(0)
            if outbox.num_waiting:
                message = await outbox.take()
                assert isinstance(message, bytes)
                last = message[0]
                delivered.add(last)

        for step in steps:
            if step == "take":
                await take()
            elif step == "lose":
                outbox.connection_lost()
                last = acknowledged
            else:
                acknowledged = max(acknowledged, min(int(step), last))
                outbox.acknowledged_until(acknowledged)
        while len(delivered) < total or last < total:
            await take()
            acknowledged = max(acknowledged, last)
            outbox.acknowledged_until(acknowledged)
        await filling
        assert delivered == set(range(1, total + 1))
        outbox.connection_lost()
        assert outbox.num_waiting == 0

    asyncio.run(run())
