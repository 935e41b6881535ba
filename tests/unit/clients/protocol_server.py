"""A small server that speaks the protocol over a real socket, scripted by the test.

It checks what a client sends with the wire's own models, acknowledges frames, and answers each
question with the words that the test gives.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from onlooker.core.protocol import client_events as asked
from onlooker.core.protocol import server_events as told
from onlooker.core.protocol.answer_events import (
    ResponseCreated,
    ResponseDone,
    ResponseObject,
    TextDelta,
)
from onlooker.core.protocol.answer_facts import AnswerFacts
from onlooker.core.protocol.base import ErrorBody
from onlooker.core.protocol.client_events import parse_client_event
from onlooker.core.protocol.conversation_items import ConversationItem, OutputText
from onlooker.core.protocol.frame_header import FrameHeader, unpack_frame
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.core.protocol.stream_objects import Capabilities, DroppedFrame, FrameTotals, Limits
from tests.fakes.waiting import limited

CAPABILITIES = Capabilities(
    protocol_version=1, codecs=["jpeg"], engine_mode="fake", knows="what the test says",
    frame_width=32, frame_height=32,
)  # fmt: skip
LIMITS = Limits(
    max_message_bytes=1 << 20, max_frame_bytes=1 << 20, max_frame_pixels=1 << 20, max_fps=60,
    max_slots=1, max_items=16, max_text_chars=1000, max_images=1, max_output_tokens=64,
    idle_timeout_s=60,
)  # fmt: skip


def text_of(event: asked.ResponseCreate, items: list[asked.ItemCreate]) -> str:
    """The question that a response is about."""
    own = event.response.input
    message: Any = own[-1] if own else items[-1].item
    return str(message.text)


@dataclass
class ProtocolServer:
    """What it received, and how it behaves; change the fields while it runs."""

    reply: Callable[[str], list[str]] = lambda question: ["You asked: ", question]
    api_key: str | None = None
    acknowledges: bool = True
    answers: bool = True
    """False: accepts a question and then stays silent until it is cancelled."""
    refusal: ErrorBody | None = None
    """Answer questions with this error."""
    port: int = 0
    connections: list[ServerConnection] = field(default_factory=list)
    frames: list[tuple[FrameHeader, bytes]] = field(default_factory=list)
    events: list[asked.ClientEvent] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    running: dict[str, asked.ResponseCreate] = field(default_factory=dict)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something that a client sent makes it true."""
        async with limited(inspect.getsource(holds).strip()):
            while not holds():
                self.arrived.clear()
                await self.arrived.wait()

    def of(self, kind: type[Any]) -> list[Any]:
        """The client events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    async def tell(self, event: ServerEvent, connection: ServerConnection | None = None) -> None:
        await (connection or self.connections[-1]).send(event.model_dump_json())

    async def drop(self, code: int = 1011, reason: str = "") -> None:
        """End the newest connection."""
        await self.connections[-1].close(code, reason)

    # ---- one connection ----

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.api_key is None or request.headers.get("Authorization") == f"Bearer {self.api_key}":
            return None
        body = told.ErrorEvent(
            error=ErrorBody(type="authentication_error", code="unauthorized", message="no such key")
        ).model_dump_json()
        return Response(
            HTTPStatus.UNAUTHORIZED, "Unauthorized", Headers(Connection="close"), body.encode()
        )

    async def handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.paths.append(connection.request.path)
        self.connections.append(connection)
        session = told.SessionObject(
            id="sess_1", model="scripted", stream="s", capabilities=CAPABILITIES, limits=LIMITS
        )
        await self.tell(told.SessionCreated(session=session), connection)
        self.arrived.set()
        async for message in connection:
            if isinstance(message, bytes):
                await self._take_frame(connection, message)
            else:
                await self._take_event(connection, parse_client_event(message))
            self.arrived.set()

    async def _take_frame(self, connection: ServerConnection, message: bytes) -> None:
        header, payload = unpack_frame(message)
        self.frames.append((header, payload))
        if self.acknowledges:
            await self.tell(self.ack(header), connection)

    def ack(self, header: FrameHeader, dropped: list[DroppedFrame] | None = None) -> told.VideoAck:
        kept = [] if dropped else [header.sequence]
        return told.VideoAck(
            slot=0, stream="s", kept=kept, dropped=dropped or [], last_sequence=header.sequence,
            seen_until_s=header.capture_s, lag_s=0.1,
            totals=FrameTotals(received=len(self.frames), kept=len(kept)),
        )  # fmt: skip

    async def _take_event(self, connection: ServerConnection, event: asked.ClientEvent) -> None:
        self.events.append(event)
        if isinstance(event, asked.ResponseCreate):
            await self._begin(connection, event)
        elif isinstance(event, asked.ResponseCancel):
            assert event.response_id is not None
            await self.finish(event.response_id, [], "cancelled", connection)

    async def _begin(self, connection: ServerConnection, event: asked.ResponseCreate) -> None:
        if self.refusal is not None:
            body = self.refusal.model_copy(update={"event_id": event.event_id})
            await self.tell(told.ErrorEvent(error=body), connection)
            return
        response_id = f"resp_{len(self.of(asked.ResponseCreate))}"
        self.running[response_id] = event
        created = ResponseObject(
            id=response_id, status="in_progress", metadata=event.response.metadata
        )
        await self.tell(ResponseCreated(response=created), connection)
        if self.answers:
            pieces = self.reply(text_of(event, self.of(asked.ItemCreate)))
            await self.finish(response_id, pieces, "completed", connection)

    async def finish(
        self,
        response_id: str,
        pieces: list[str],
        status: Any,
        connection: ServerConnection | None = None,
    ) -> None:
        event = self.running.pop(response_id)
        for piece in pieces:
            delta = TextDelta(response_id=response_id, item_id="i", delta=piece)
            await self.tell(delta, connection)
        item = ConversationItem(
            id="i", role="assistant", content=[OutputText(text="".join(pieces))]
        )
        done = ResponseObject(
            id=response_id, status=status, output=[item], metadata=event.response.metadata,
            onlooker=AnswerFacts(asked_s=event.response.at_s, seen_until_s=1.0),
        )  # fmt: skip
        await self.tell(ResponseDone(response=done), connection)


@asynccontextmanager
async def protocol_server(port: int = 0, **settings: Any) -> AsyncIterator[ProtocolServer]:
    """A running server on a free port of this machine."""
    server = ProtocolServer(**settings)
    async with serve(server.handle, "127.0.0.1", port, process_request=server.check) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server
