"""`Tunnel`: a realtime connection whose stream another server owns, passed on to it whole.

    client ◄──► this server ◄──► the stream's owner
       pings here     pings there

Messages pass one at a time in each direction, as the far end takes them: who reads slowly slows
down who sends. How one end closes is told the other; an owner that is lost is told as
`session.closing`. What the messages say is not read, but for the heads of the owner's events: how
many answers are under way, and which number comes next.
"""

import asyncio
import logging
import re
from contextlib import suppress
from typing import Any

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from onlooker.core.errors import NoRoom, NotFound, OwnedElsewhere, ShuttingDown
from onlooker.core.protocol.server_events import SessionClosing
from onlooker.server import errors
from onlooker.server.errors import OwnerLost
from onlooker.server.fleet.fleet_relay import FleetRelay, Outcome, OwnerGone, OwnerUnreached
from onlooker.server.fleet.headers import told_back
from onlooker.server.gateway import Gateway
from onlooker.server.relay.dialling import dial_owner, hang_up
from onlooker.server.relay.finding import found
from onlooker.server.relay.placing import another_place, check_placed
from onlooker.server.relay.pursuit import Pursuit
from onlooker.server.relay.refusals import code_of
from onlooker.server.rights import Grant

_log = logging.getLogger("onlooker.server.relay")

FAREWELL_S = 1.0
"""How long each end gets to hear that the connection ends."""

LOST_RETRY_S = 0.2
"""When a client whose owner was lost is to come again: another server takes the stream over then.
Not at once, so that not all come in the same moment."""

_HEAD = re.compile(r'\{"event_id":"[^"]{0,64}","sequence_number":(\d{1,18}),"type":"([a-z_.]+)"')
"""How the owner's events begin."""

_NO_CLOSE_FRAME = (1005, 1006, 1015)


async def tunnelled(websocket: WebSocket, gateway: Gateway, grant: Grant, name: str | None) -> bool:
    """Serve a connection to its end where another server owns the stream that it names, or is to
    open it; returns False where it is to be served here.

    Raises:
        OwnedElsewhere: it has been passed on before, or may not be.
        Overloaded: it is not known who owns the stream.
        OwnerLost: the owner does not answer.
        what `StreamHub.open_stream` does, where the owner is gone.
    """
    relay = gateway.relay
    if relay is None:
        return False
    try:
        await _check_here(gateway, websocket, grant, name)
        return False
    except OwnedElsewhere as owner:
        target = owner
    except (NoRoom, ShuttingDown) as refusal:
        target = another_place(gateway, websocket, refusal, grant.tenant, name)
    pursuit = Pursuit(gateway, relay, websocket, target)
    await pursuit.begin()
    while pursuit.owner is not None:
        tunnel = Tunnel(relay, gateway, websocket, pursuit.owner)
        try:
            await tunnel.run()
        except OwnerGone:
            await pursuit.gone()
        except OwnerUnreached as error:
            pursuit.unreached(error)
        except InvalidStatus as refused:
            if not await pursuit.refused(code_of(refused)):
                await tunnel.refuse(refused)
                return True
        else:
            return True
    return False


async def _check_here(
    gateway: Gateway, websocket: WebSocket, grant: Grant, name: str | None
) -> None:
    """Return where a connection is to be served here.

    Raises:
        OwnedElsewhere: another server has its stream, or is to open it.
        what `found` and `Gateway.check_ready` do.
    """
    if name is not None:
        try:
            await found(gateway, gateway.streams_of(grant.tenant), name)
            return
        except OwnedElsewhere:
            gateway.check_door()
            raise
        except NotFound:
            pass
    gateway.check_ready()
    check_placed(gateway, websocket, grant.tenant, name)


class Tunnel:
    """One connection that is passed on. `run` once."""

    def __init__(
        self, relay: FleetRelay, gateway: Gateway, websocket: WebSocket, owner: OwnedElsewhere
    ) -> None:
        self._relay, self._gateway = relay, gateway
        self._client, self._owner = websocket, owner
        self._trace = relay.traced(websocket.scope["headers"])
        self._ending: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._is_draining = False
        self._num_answers = 0
        self._last_number = 0

    def drain(self) -> None:
        """End when the answers under way have."""
        self._is_draining = True
        self._end_if_idle()

    def end_now(self) -> None:
        self._end("drained")

    def lose(self) -> None:
        self._end("lost")

    def _end(self, outcome: Outcome) -> None:
        if not self._ending.done():
            self._ending.set_result(outcome)

    async def run(self) -> None:
        """Serve until either end leaves.

        Raises:
            OwnerGone: the owner's port refuses connections; nothing was passed on.
            OwnerLost: the owner does not answer.
            InvalidStatus: the owner refused the connection; nothing was told the client.
        """
        outcome: Outcome = "gone"
        self._relay.begin(self, self._owner.server, self._trace)
        try:
            await self._relay.check_heard(self._owner)
            outcome = await self._run()
        except InvalidStatus:
            outcome = "refused"
            self._relay.doubt(self._owner)
            raise
        except ShuttingDown:
            outcome = "drained"
            raise
        except OwnerUnreached:
            outcome = "unreached"
            raise
        except OwnerLost:
            outcome = "lost"
            raise
        finally:
            self._relay.end(self, "websocket", outcome)

    async def refuse(self, refused: InvalidStatus) -> None:
        """Pass the owner's refusal on to the client."""
        reply = refused.response
        answer = Response(bytes(reply.body or b""), reply.status_code)
        told = [(name.encode(), value.encode()) for name, value in reply.headers.raw_items()]
        answer.raw_headers = told_back(told, server=self._owner.server)
        with suppress(WebSocketDisconnect, RuntimeError, OSError):
            await self._client.send_denial_response(answer)

    async def _run(self) -> Outcome:
        connecting = asyncio.ensure_future(
            dial_owner(self._relay, self._client.scope, self._owner, self._trace)
        )
        ends: list[asyncio.Future[Any]] = [connecting, self._ending]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                if self._ending.result() == "drained":
                    raise ShuttingDown(
                        "this server is drained; connect again, another one is there"
                    )
                raise self._lost()
            owner = connecting.result()
        except (InvalidStatus, OwnerLost, ShuttingDown):
            raise
        except ConnectionRefusedError as error:
            self._relay.doubt(self._owner)
            raise OwnerGone(str(error)) from error
        except (OSError, TimeoutError, WebSocketException) as error:
            _log.warning(
                "the owner of a stream takes no connection",
                extra={"server": self._owner.server, "error": repr(error)},
            )
            raise self._lost() from error
        finally:
            connecting.cancel()
        metrics = self._gateway.metrics
        metrics.connections.inc()
        outcome: Outcome = "lost"
        try:
            await self._client.accept(subprotocol=owner.subprotocol)
            outcome = await self._pass(owner)
        finally:
            metrics.connections.dec()
            metrics.connections_total.labels(outcome=f"relayed_{outcome}").inc()
            await hang_up(owner, errors.CLOSE_GOING_AWAY, "the client left")
        return outcome

    # ---- while it lasts

    async def _pass(self, owner: ClientConnection) -> Outcome:
        there = asyncio.ensure_future(self._pass_on(owner))
        back = asyncio.ensure_future(self._pass_back(owner))
        tasks = [there, back]
        ends: list[asyncio.Future[Any]] = [*tasks, self._ending]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if there.done() and not there.exception() and there.result() == "left":
                return "left"
            if there.done() and not back.done():  # the owner has closed; hear how
                await asyncio.wait([back], timeout=FAREWELL_S)
            unfinished: Outcome = self._ending.result() if self._ending.done() else "lost"
            outcome = back.result() if back.done() else unfinished
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._part(outcome, owner)
        return outcome

    async def _pass_on(self, owner: ClientConnection) -> Outcome:
        """From the client to the owner."""
        while True:
            message = await self._client.receive()
            if message["type"] == "websocket.disconnect":
                return "left"
            text = message.get("text")
            try:
                await owner.send(text if text is not None else message["bytes"])
            except ConnectionClosed:
                return "done"

    async def _pass_back(self, owner: ClientConnection) -> Outcome:
        """From the owner to the client."""
        try:
            while True:
                message = await owner.recv()
                async with asyncio.timeout(self._relay.server.send_timeout_s):
                    if isinstance(message, str):
                        self._note(message)
                        await self._client.send_text(message)
                    else:
                        await self._client.send_bytes(message)
        except ConnectionClosed as closed:
            return "lost" if closed.rcvd is None else "done"
        except TimeoutError:
            return "slow_reader"
        except (WebSocketDisconnect, RuntimeError, OSError):
            return "left"

    def _note(self, event: str) -> None:
        head = _HEAD.match(event)
        if head is None:
            return
        self._last_number = int(head[1])
        if head[2] == "response.created":
            self._num_answers += 1
        elif head[2] == "response.done":
            self._num_answers -= 1
            self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._is_draining and self._num_answers <= 0:
            asyncio.get_running_loop().call_soon(self.end_now)

    # ---- the end

    async def _part(self, outcome: Outcome, owner: ClientConnection) -> None:
        """Tell the client how its connection ends."""
        if outcome == "done":
            code, reason = owner.close_code or errors.CLOSE_NORMAL, owner.close_reason or ""
            if code in _NO_CLOSE_FRAME:
                code = errors.CLOSE_NORMAL
            await self._close_client(code, reason)
        elif outcome == "lost":
            lost = self._lost()
            await self._announce(lost.code, lost.message, lost.retry_after_s)
            await self._close_client(errors.CLOSE_TRY_LATER, lost.code)
        elif outcome == "drained":
            text = "this server is drained; connect again, another one is there"
            await self._announce("moved", text, 0.0)
            await self._close_client(errors.CLOSE_GOING_AWAY, "moved")
        elif outcome == "slow_reader":
            await self._close_client(errors.CLOSE_TRY_LATER, "slow_reader")

    async def _announce(self, reason: str, message: str, retry_after_s: float) -> None:
        number = self._last_number + 1
        event = SessionClosing(
            event_id=f"event_{number}",
            sequence_number=number,
            reason=reason,
            message=message,
            retry_after_s=retry_after_s,
        )
        with suppress(TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            async with asyncio.timeout(FAREWELL_S):
                await self._client.send_text(event.model_dump_json())

    async def _close_client(self, code: int, reason: str) -> None:
        with suppress(TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            async with asyncio.timeout(FAREWELL_S):
                await self._client.close(code, reason)

    def _lost(self) -> OwnerLost:
        self._relay.doubt(self._owner)
        return OwnerLost(
            f"the server '{self._owner.server}', which has the stream, went away: connect again; "
            "another server takes the stream over",
            retry_after_s=LOST_RETRY_S,
        )
