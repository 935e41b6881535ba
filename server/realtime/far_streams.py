"""`FarStreams`: the slots of a session whose streams other servers own, each relayed by itself.

Where a slot's owner is lost, or the stream moves, the slot is attached again.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import HTTPConnection
from websockets.exceptions import InvalidStatus, WebSocketException

from onlooker.core.errors import Forbidden, NotFound, OnlookerError, Overloaded, OwnedElsewhere
from onlooker.core.protocol import client_events as asked
from onlooker.core.protocol import server_events as told
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.core.protocol.stream_objects import StreamObject
from onlooker.server.errors import OwnerLost
from onlooker.server.fleet.fleet_relay import FleetRelay, OwnerGone, OwnerUnreached, RelayTrace
from onlooker.server.fleet.headers import RELAYED_BY
from onlooker.server.gateway import Gateway
from onlooker.server.realtime.conversation import Conversation
from onlooker.server.realtime.far_asking import question_for_owner, remember
from onlooker.server.realtime.far_slot import ATTACHED, FarSlot
from onlooker.server.relay.dialling import dial_owner
from onlooker.server.relay.pursuit import Pursuit
from onlooker.server.relay.refusals import code_of

CREDENTIALS = ("token",)
"""What a slot's connection takes over of the query of the session's."""

AGAIN_S = (0.05, 0.1, 0.3, 0.5, 1.0, 2.0, 4.0)
"""Waits before each attempt to attach a slot again whose stream has moved."""

Attach = Callable[[int, str, int | None], Coroutine[Any, Any, StreamObject]]


class FarStreams:
    """Of one session. `attach` of the session decides where a slot's stream is; see `take`."""

    def __init__(
        self,
        gateway: Gateway,
        connection: HTTPConnection,
        *,
        emit: Callable[[ServerEvent], None],
        spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"],
        attach: Attach,
    ) -> None:
        """`connection`: the session's. `attach`: attaches a stream to a slot, wherever the stream
        is now, given the slot, the stream's name and the last event of it that was heard."""
        self._gateway, self._connection = gateway, connection
        self._emit, self._spawn, self._attach = emit, spawn, attach
        self.slots: dict[int, FarSlot] = {}

    @property
    def is_answering(self) -> bool:
        """Whether an answer about one of the streams is under way."""
        return any(slot.is_answering for slot in self.slots.values())

    async def open(
        self, number: int, name: str, owner: OwnedElsewhere, after: int | None
    ) -> StreamObject | None:
        """Attach a slot to a stream of another server; None where it is to be opened here after
        all.

        Raises:
            OwnerLost: its owner does not answer.
            OnlookerError: the owner refused, or may not be asked.
        """
        relay = self._gateway.relay
        assert relay is not None
        connection = self._as_slot(name, after)
        pursuit = Pursuit(self._gateway, relay, connection, owner)
        await pursuit.begin()
        while (target := pursuit.owner) is not None:
            try:
                await relay.check_heard(target)
                trace = relay.traced(connection.scope["headers"])
                link = await dial_owner(relay, connection.scope, target, trace)
            except InvalidStatus as refused:
                if not await pursuit.refused(code_of(refused)):
                    raise _refusal(refused, name) from refused
            except (ConnectionRefusedError, OwnerGone):
                relay.doubt(target)
                await pursuit.gone()
            except OwnerUnreached as error:
                pursuit.unreached(error)
            except (OSError, TimeoutError, WebSocketException) as error:
                relay.doubt(target)
                raise OwnerLost(
                    f"the server that has the stream '{name}' does not answer: try again"
                ) from error
            else:
                timeout_s = relay.server.send_timeout_s
                slot = FarSlot(number, name, link, emit=self._emit, send_timeout_s=timeout_s)
                shown = await slot.open()
                self.slots[number] = slot
                self._spawn(self._follow(slot, relay, target.server, trace))
                return shown
        return None

    async def take(
        self,
        event: asked.ClientEvent,
        session: asked.SessionConfig,
        conversation: Conversation,
    ) -> bool:
        """Pass an event on that is about one of the streams; returns False for others. `session`
        and `conversation`: what a question takes along, and where its answer is remembered.

        Raises:
            OwnerLost: the owner takes nothing.
            NotFound: a question refers to what was not said.
        """
        if isinstance(event, asked.ResponseCreate):
            slot = self._named(event.response.stream)
            if slot is not None:
                question = question_for_owner(
                    event.response,
                    session,
                    conversation,
                    limits=self._gateway.settings.server.json_limits,
                )
                is_beside = event.response.conversation == "none"
                keep = None if is_beside else partial(remember, conversation=conversation)
                await slot.ask_question(event, question, keep)
            return slot is not None
        if isinstance(event, asked.ResponseCancel):
            slot = next(
                (s for s in self.slots.values() if s.answers(event.response_id or "")), None
            )
            if slot is not None:
                await slot.ask(event)
            return slot is not None
        slot = self._named(getattr(event, "stream", None))
        if slot is None or isinstance(event, asked.VideoAttach):
            return False
        await slot.ask(event, stream=None)
        return True

    async def detach(self, number: int) -> str:
        """Let go of a slot; return the stream's name."""
        slot = self.slots.pop(number)
        await slot.close()
        return slot.name

    def again(self, number: int, name: str, after: int | None) -> None:
        """Attach a slot again, in the background, whose stream has moved."""
        self._spawn(self._again(number, name, after))

    async def _follow(
        self, slot: FarSlot, relay: FleetRelay, server: str, trace: RelayTrace | None
    ) -> None:
        relay.begin(slot, server, trace)
        try:
            await slot.follow()
        finally:
            relay.end(slot, "websocket", "left" if slot.is_closed else "lost")
        if not slot.is_closed and self.slots.get(slot.number) is slot:
            await self._again(slot.number, slot.name, slot.last_event)

    async def _again(self, number: int, name: str, after: int | None) -> None:
        error: OnlookerError | None = None
        for wait_s in AGAIN_S:
            await self._gateway.clock.sleep(wait_s)
            if (slot := self.slots.get(number)) is not None and slot.is_closed:
                return
            try:
                await self._attach(number, name, after)
            except OnlookerError as failed:
                error = failed
                if not failed.retryable:
                    break
            else:
                return
        self.slots.pop(number, None)
        reason = "" if error is None else error.message
        self._emit(told.StreamClosed(slot=number, stream=name, reason=f"lost: {reason}"))

    def _named(self, name: str | None) -> FarSlot | None:
        if name is None:
            return None
        return next((slot for slot in self.slots.values() if slot.name == name), None)

    def _as_slot(self, name: str, after: int | None) -> HTTPConnection:
        """The session's connection as that of a slot. A session may itself have been passed on;
        what its slots are passed on to makes one hop from here."""
        scope = self._connection.scope
        given = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        query = {"stream": name, "events": "all", ATTACHED: "1"}
        query |= {key: given[key] for key in CREDENTIALS if key in given}
        if after is not None:
            query["after"] = str(after)
        headers = [(key, value) for key, value in scope["headers"] if key != RELAYED_BY]
        return HTTPConnection(
            {**scope, "query_string": urlencode(query).encode(), "headers": headers}
        )


def _refusal(refused: InvalidStatus, name: str) -> OnlookerError:
    status = refused.response.status_code
    text = f"the server that has the stream '{name}' refuses it ({code_of(refused) or status})"
    kinds: dict[int, type[OnlookerError]] = {403: Forbidden, 404: NotFound}
    return kinds.get(status, Overloaded)(text, param="stream")
