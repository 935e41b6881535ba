"""A stream's events as its followers are told of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.ids import ResponseId
from onlooker.core.media import FrameOutcome
from onlooker.core.metrics import Metrics
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.core.protocol.server_events import StreamAnswer, VideoAck
from onlooker.core.scopes import Scope
from onlooker.engine.fake import ScriptedEngine
from onlooker.server.rights import Grant
from onlooker.server.stream_events import followed, may_hear, told_of
from onlooker.server.wiring import make_hub, make_pool
from onlooker.streams import events
from onlooker.streams.hub import StreamHub
from onlooker.streams.stream import Stream, StreamOptions
from onlooker.watches.events import WatchChanged
from tests.fakes.pictures import make_message
from tests.fakes.served import make_settings
from tests.fakes.streams import ask, make_local_decoding
from tests.fakes.waiting import limited


@asynccontextmanager
async def open_stream() -> AsyncIterator[tuple[StreamHub, Stream]]:
    settings, clock, metrics = make_settings(), ManualClock(), Metrics()
    pool = make_pool(settings)
    decoding = make_local_decoding(settings.streams, pool=pool, clock=clock, metrics=metrics)
    hub = make_hub(
        settings,
        engine=ScriptedEngine(),
        clock=clock,
        metrics=metrics,
        pool=pool,
        decoding=decoding,
    )
    await hub.start(lambda line: None)
    try:
        yield hub, await hub.open_stream(options=StreamOptions(clock="virtual"))
    finally:
        await hub.close(deadline_s=0)


async def follow(stream: Stream, **options: Any) -> list[tuple[int | None, ServerEvent]]:
    """Everything until the stream closes."""
    defaults: dict[str, Any] = {
        "after": None, "interval_s": 0.001, "max_listed_acks": 100, "max_queued": 100,
    }  # fmt: skip
    async with limited("the stream to close"):
        return [pair async for pair in followed(stream, **{**defaults, **options})]


END = events.StreamEnded("closed")
SEEN, SCENE = events.ClipSeen(0, 0.0, 1.0, 0.0), events.SceneChanged(0.0)
WATCH = WatchChanged("w", "created")


@pytest.mark.parametrize(
    ("scope", "heard"),
    [
        (Scope.READ, [END, SEEN, SCENE, WATCH]),
        (Scope.ASK, [END]),
        (Scope.PUSH, [END, SEEN]),
        (Scope.WATCH, [END, WATCH]),
        (Scope.ADMIN, [END]),
    ],
)
def test_who_may_not_listen_hears_what_its_own_calls_come_to(
    scope: Scope, heard: list[events.StreamEvent]
) -> None:
    grant = Grant(scopes=frozenset({scope}))
    assert [event for event in (END, SEEN, SCENE, WATCH) if may_hear(grant, event)] == heard


async def test_frames_are_gathered_and_everything_ends_with_the_stream() -> None:
    async with open_stream() as (hub, stream):
        following = asyncio.create_task(follow(stream, interval_s=60.0))
        await asyncio.sleep(0)
        for index in range(5):
            await stream.push_wait(make_message(index * 5.0, sequence=index))
        await hub.close_stream(stream.id, "enough")
        told = await following
    acks = [event for _, event in told if isinstance(event, VideoAck)]
    assert sorted(sequence for ack in acks for sequence in ack.kept) == list(range(5))
    assert told[0][0] is None
    assert [event.sequence_number for _, event in told[1:]] == [n for n, _ in told[1:]]
    assert told[-1][1].model_dump()["reason"] == "enough"


async def test_who_comes_back_gets_what_was_missed() -> None:
    async with open_stream() as (hub, stream):
        await hub.close_stream(stream.id, "enough")
        told = await follow(stream, after=0)
    types = [event.model_dump()["type"] for _, event in told]
    assert types == ["input_video.pace", "stream.closed"]


async def test_who_asks_and_what_is_answered_is_told() -> None:
    async with open_stream() as (hub, stream):
        following = asyncio.create_task(follow(stream))
        await asyncio.sleep(0)
        await ask(stream, "how many?", response_id=ResponseId("resp_1"))
        await hub.close_stream(stream.id, "enough")
        answers = [event for _, event in await following if isinstance(event, StreamAnswer)]
    assert [(a.response_id, a.status) for a in answers] == [
        ("resp_1", "in_progress"),
        ("resp_1", "completed"),
    ]
    assert answers[-1].text == "I have seen 0 clips up to 0.00 s."


EVENTS = [
    (events.PaceChanged(2.0, 32, 32, 0.0, "load"), "input_video.pace"),
    (events.SceneChanged(1.0), "stream.scene"),
    (WatchChanged("gone", "deleted"), "stream.watch"),
    (events.StreamEnded("enough"), "stream.closed"),
]


@pytest.mark.parametrize(("event", "kind"), EVENTS)
async def test_a_connection_is_told_of_the_same_by_its_slot(
    event: events.StreamEvent, kind: str
) -> None:
    async with open_stream() as (_, stream):
        here, there = (told_of(7, event, stream, slot=slot) for slot in (3, None))
        assert here is not None
        assert there is not None
        body = here.model_dump()
        assert (body["type"], body["slot"]) == (kind, 3)
        assert {**body, "slot": there.model_dump()["slot"]} == there.model_dump()


async def test_frames_and_clips_are_not_told_one_by_one() -> None:
    async with open_stream() as (_, stream):
        for event in (
            events.FrameAck(1, FrameOutcome.KEPT, None, 0.0),
            events.ClipSeen(0, 0.0, 0.5, 0.1),
            events.ClipLost(0, 0.0, 0.5, "gone"),
        ):
            assert told_of(1, event, stream) is None
