"""How events are written as text, and a response that ends with its reader."""

import asyncio
from typing import Any

from onlooker.core.clock import SystemClock
from onlooker.core.protocol.server_events import Pong
from onlooker.server.config import ServerSection
from onlooker.server.sse import EventResponse, NumberedText, sse_text
from tests.fakes.waiting import limited, until


def test_an_event_as_text_has_its_type_number_and_json() -> None:
    text = sse_text(Pong(), event_id=9).decode()
    assert text.startswith("event: pong\nid: 9\ndata: {")
    assert text.endswith("}\n\n")
    assert "id:" not in sse_text(Pong()).decode()


def test_events_of_one_answer_are_numbered_as_they_are_written() -> None:
    encode = NumberedText()
    texts = [encode(Pong()).decode() for _ in range(2)]
    assert '"event_id":"event_1","sequence_number":1' in texts[0]
    assert '"event_id":"event_2","sequence_number":2' in texts[1]


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


async def respond(
    source: Source,
    reader: Reader,
    *,
    stopping: asyncio.Event | None = None,
    begun: tuple[bytes, ...] = (),
    **settings: Any,
) -> None:
    response = EventResponse(
        source.events(),
        bytes.upper,
        clock=SystemClock(),
        settings=ServerSection(**settings),
        stopping=stopping,
        begun=begun,
    )
    async with limited("the response to end"):
        await response({"type": "http"}, reader.receive, reader.send)


async def test_a_response_ends_with_its_events() -> None:
    source, reader = Source(), Reader()
    for chunk in (b"a", b"b", b""):
        source.queue.put_nowait(chunk)
    await respond(source, reader, begun=(b"first",))
    assert (reader.body, source.is_closed) == (b"FIRSTAB", True)


async def test_a_reader_who_hangs_up_ends_the_events() -> None:
    source, reader = Source(), Reader()
    reader.gone.set()
    await respond(source, reader)
    assert source.is_closed


async def test_a_quiet_line_gets_comments_and_a_stop_ends_it() -> None:
    source, reader, stopping = Source(), Reader(), asyncio.Event()
    task = asyncio.create_task(respond(source, reader, sse_keepalive_s=0.001, stopping=stopping))
    await until(lambda: b":" in reader.body)
    stopping.set()
    await task
    assert source.is_closed


async def test_a_reader_who_stalls_is_let_go() -> None:
    source, reader = Source(), Reader(stalls=True)
    await respond(source, reader, send_timeout_s=0.001)
    assert reader.body == b""
