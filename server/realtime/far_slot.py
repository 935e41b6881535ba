"""`FarSlot`: a slot of a connection whose stream another server owns.

    client ──► this session ──► the stream's owner
                 slot N           slot 0 of a connection of its own

Frames and what is asked about the stream go to the owner, and what the owner tells of the stream
comes back under the slot's number. So one connection may feed streams of several owners.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from onlooker.core.media import EncodedFrame
from onlooker.core.protocol import client_events as asked
from onlooker.core.protocol import server_events as told
from onlooker.core.protocol.answer_events import (
    ContentPartAdded,
    ContentPartDone,
    OutputItemAdded,
    OutputItemDone,
    ResponseCreated,
    ResponseDone,
    ResponseObject,
    TextDelta,
    TextDone,
)
from onlooker.core.protocol.frame_header import FrameHeader, pack_frame
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.core.protocol.stream_objects import StreamObject
from onlooker.server import errors
from onlooker.server.errors import OwnerLost
from onlooker.server.relay.dialling import hang_up
from onlooker.server.stream_events import AckMode

ATTACHED = "attached"
"""Query parameter of a slot's connection: the stream is told of first."""

_PASSED_BACK = (
    told.VideoAck, told.VideoPace, told.StreamUpdated, told.StreamScene, told.StreamHealth,
    told.StreamTimeJump, told.StreamWatch, told.StreamWatches, told.StreamAlert,
    told.StreamClosed, told.ErrorEvent,
    ResponseCreated, OutputItemAdded, ContentPartAdded, TextDelta,
    TextDone, ContentPartDone, OutputItemDone, ResponseDone,
)  # fmt: skip
"""What the owner says that is about the stream; the rest is about its connection."""


Keep = Callable[[ResponseObject], None]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question that was passed on."""

    mark: str
    event_id: str | None
    """What its sender called it."""
    keep: Keep | None


class FarSlot:
    """`open` first, then `follow` runs as a task."""

    def __init__(
        self,
        number: int,
        name: str,
        link: ClientConnection,
        *,
        emit: Callable[[ServerEvent], None],
        send_timeout_s: float,
    ) -> None:
        """`name`: the stream's. `link`: a connection to its owner, on which nothing was read."""
        self.number, self.name = number, name
        self.next_sequence = 0
        self.last_event: int | None = None
        """The number of the newest event of the stream that was passed back."""
        self.is_closed = False
        """Whether the stream has ended, or the slot was closed here."""
        self._link, self._emit, self._send_timeout_s = link, emit, send_timeout_s
        self._questions: deque[_Asked] = deque()
        self._answers: dict[str, _Asked] = {}
        self._is_lost = False
        self._num_asked = 0

    async def open(self) -> StreamObject:
        """Return how the stream is.

        Raises:
            OwnerLost: the owner does not say.
        """
        with suppress(ConnectionClosed, TimeoutError, ValueError):
            async with asyncio.timeout(self._send_timeout_s):
                while True:
                    event = told.parse_server_event(await self._link.recv())
                    if isinstance(event, told.StreamUpdated):
                        return event.stream
        await self._leave()
        raise OwnerLost(f"the server that has the stream '{self.name}' went away: try again")

    async def follow(self) -> None:
        """Pass on what the owner says, until either end leaves."""
        try:
            async for message in self._link:
                with suppress(ValueError):  # of another version, which has other words
                    self._take(told.parse_server_event(message))
        except ConnectionClosed:
            pass
        finally:
            self._is_lost = True
            self._questions.clear()
            self._answers.clear()
            await self._leave()

    def drain(self) -> None:
        """It ends with its session."""

    def end_now(self) -> None:
        """End the connection to the owner at once."""
        self._link.transport.abort()

    def lose(self) -> None:
        self.end_now()

    async def push(self, frame: EncodedFrame, *, is_last: bool) -> None:
        """Hand a frame to the owner, as fast as it takes them. While the slot is attached again,
        frames are left out.

        Raises:
            OwnerLost: it takes none.
        """
        self.next_sequence = (frame.sequence + 1) & 0xFFFFFFFF
        if self._is_lost:
            return
        header = FrameHeader(
            codec=frame.codec,
            sequence=frame.sequence,
            capture_us=round(frame.capture_s * 1_000_000),
            last_frame=is_last,
        )
        await self._send(pack_frame(header, frame.payload))

    async def ask(self, event: asked.ClientEvent, **changed: Any) -> None:
        """Pass on what a client asks about the stream. `changed`: fields of the event that the
        owner is to read otherwise.

        Raises:
            OwnerLost: it takes nothing.
        """
        await self._send(event.model_copy(update=changed).model_dump_json(exclude_none=True))

    async def ask_question(
        self, event: asked.ResponseCreate, question: asked.ResponseConfig, keep: Keep | None
    ) -> None:
        """Pass on a question, as its owner is to hear it. `keep` is given the whole answer, unless
        the question is refused.

        Raises:
            OwnerLost: it takes nothing.
        """
        self._num_asked += 1
        mark = f"far_{self._num_asked}"  # by which a refusal says of which question it is
        self._questions.append(_Asked(mark, event.event_id, keep))
        await self.ask(event, response=question, event_id=mark)

    async def take_ack_mode(self, mode: AckMode) -> None:
        """Have frames acknowledged in another way. Raises `OwnerLost`."""
        video = asked.InputVideoConfig(ack=mode)
        session = asked.SessionConfig(input_video=video)
        update = asked.SessionUpdate(type="session.update", session=session)
        await self._send(update.model_dump_json(exclude_none=True, exclude_unset=True))

    def answers(self, response_id: str) -> bool:
        """Whether the owner is giving this answer."""
        return response_id in self._answers

    @property
    def is_answering(self) -> bool:
        """Whether an answer about the stream is under way."""
        return bool(self._answers)

    async def close(self) -> None:
        """Let go of the stream; it goes on without this connection."""
        self.is_closed = True
        await self._leave()

    def _take(self, event: told.AnyServerEvent | told.UnknownEvent) -> None:
        if not isinstance(event, _PASSED_BACK):
            return
        if getattr(event, "slot", None) == 0:
            event.slot = self.number  # type: ignore[union-attr] # those that have one
        number = getattr(event, "event_number", None)
        if number is not None:
            self.last_event = max(number, self.last_event or 0)
        if isinstance(event, ResponseCreated):
            if self._questions:  # the owner takes them in order, and refuses some
                self._answers[event.response.id] = self._questions.popleft()
        elif isinstance(event, ResponseDone):
            answered = self._answers.pop(event.response.id, None)
            if answered is not None and answered.keep is not None:
                answered.keep(event.response)
        elif isinstance(event, told.ErrorEvent):
            self._note_refusal(event)
        elif isinstance(event, told.StreamClosed):
            self.is_closed = True
        self._emit(event)

    def _note_refusal(self, event: told.ErrorEvent) -> None:
        for question in self._questions:
            if question.mark == event.error.event_id:
                self._questions.remove(question)
                event.error.event_id = question.event_id
                return

    async def _send(self, message: str | bytes) -> None:
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await self._link.send(message)
        except (ConnectionClosed, TimeoutError) as error:
            raise OwnerLost(
                f"the server that has the stream '{self.name}' went away; the slot is attached "
                "again by itself",
                retry_after_s=1.0,
            ) from error

    async def _leave(self) -> None:
        await hang_up(self._link, errors.CLOSE_GOING_AWAY, "the slot was let go")
