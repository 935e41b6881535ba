"""A stream's events over HTTP, and how they are written as text."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from onlooker.core.clock import ManualClock
from onlooker.core.metrics import Metrics
from onlooker.core.protocol.server_events import Pong, ServerEvent, VideoAck
from onlooker.engine.fake import ScriptedEngine
from onlooker.server.event_feed import stream_events
from onlooker.server.sse import EventResponse, numbered, sse_text
from onlooker.server.wiring import make_hub
from onlooker.streams.hub import StreamHub
from onlooker.streams.stream import Stream, StreamOptions
from tests.fakes.pictures import make_message
from tests.fakes.served import WAIT_S, make_settings, until


@asynccontextmanager
async def open_stream() -> AsyncIterator[tuple[StreamHub, Stream]]:
    hub = make_hub(make_settings(), engine=ScriptedEngine(), clock=ManualClock(), metrics=Metrics())
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
    async with asyncio.timeout(WAIT_S):
        return [pair async for pair in stream_events(stream, **{**defaults, **options})]


async def test_frames_are_gathered_and_everything_ends_with_the_stream() -> None:
    async with open_stream() as (hub, stream):
        following = asyncio.create_task(follow(stream, interval_s=60.0))
        await asyncio.sleep(0)
        for index in range(5):
            await stream.push_wait(make_message(index * 5.0, sequence=index))
        await hub.close_stream(stream.id, "enough")
        events = await following
    acks = [event for _, event in events if isinstance(event, VideoAck)]
    assert sorted(sequence for ack in acks for sequence in ack.kept) == list(range(5))
    assert events[0][0] is None
    assert [event.sequence_number for _, event in events[1:]] == [n for n, _ in events[1:]]
    assert events[-1][1].model_dump()["reason"] == "enough"


async def test_who_comes_back_gets_what_was_missed() -> None:
    async with open_stream() as (hub, stream):
        await hub.close_stream(stream.id, "enough")
        events = await follow(stream, after=0)
    types = [event.model_dump()["type"] for _, event in events]
    assert types == ["input_video.pace", "stream.closed"]


def test_an_event_as_text_has_its_type_number_and_json() -> None:
    text = sse_text(numbered(Pong(), 3), event_id=9).decode()
    assert text.startswith("event: pong\nid: 9\ndata: {")
    assert '"sequence_number":3' in text
    assert text.endswith("}\n\n")
    assert "id:" not in sse_text(Pong()).decode()


class Reader:
    """The ASGI side of a reader: takes what is sent, hangs up when told to."""

    def __init__(self, *, stalls: bool = False) -> None:
        self.body = b""
        self.gone = asyncio.Event()
        self._stalls = stalls

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if self._stalls:
            await asyncio.Event().wait()
        self.body += message.get("body", b"")


class Source:
    """Events that come when told to, and know when they are closed."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.is_closed = False

    async def events(self) -> Any:
        try:
            while (chunk := await self.queue.get()) != b"":
                yield chunk
        finally:
            self.is_closed = True


async def respond(source: Source, reader: Reader, **options: Any) -> None:
    defaults: dict[str, Any] = {"keepalive_s": 60.0, "send_timeout_s": 60.0}
    response = EventResponse(source.events(), **{**defaults, **options})
    async with asyncio.timeout(WAIT_S):
        await response({"type": "http"}, reader.receive, reader.send)


async def test_a_response_ends_with_its_events() -> None:
    source, reader = Source(), Reader()
    for chunk in (b"a", b"b", b""):
        source.queue.put_nowait(chunk)
    await respond(source, reader)
    assert (reader.body, source.is_closed) == (b"ab", True)


async def test_a_reader_who_hangs_up_ends_the_events() -> None:
    source, reader = Source(), Reader()
    reader.gone.set()
    await respond(source, reader)
    assert source.is_closed


async def test_a_quiet_line_gets_comments_and_a_stop_ends_it() -> None:
    source, reader, stopping = Source(), Reader(), asyncio.Event()
    task = asyncio.create_task(respond(source, reader, keepalive_s=0.001, stopping=stopping))
    await until(lambda: b":" in reader.body)
    stopping.set()
    await task
    assert source.is_closed


async def test_a_reader_who_stalls_is_let_go() -> None:
    source, reader = Source(), Reader(stalls=True)
    await respond(source, reader, send_timeout_s=0.001)
    assert reader.body == b""
