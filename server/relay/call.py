"""`RelayedCall`: an HTTP call on its way to the owner of its stream, and the reply on its way back.

Bytes pass both ways as they come; of event streams the piece after the last whole event waits, so
that a reader never gets half an event. Who hangs up at one end ends the other.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from onlooker.core.errors import OwnedElsewhere, ShuttingDown
from onlooker.core.protocol.server_events import ErrorEvent
from onlooker.server.errors import OwnerLost, body_of, reply_of
from onlooker.server.fleet.fleet_relay import FleetRelay, Outcome, OwnerGone, target_of
from onlooker.server.fleet.headers import RawHeaders, asked_on, told_back
from onlooker.server.fleet.hop import Hop, HopFailed
from onlooker.server.fleet.reach import Unreached
from onlooker.server.sse import disconnected, sse_text

_log = logging.getLogger("onlooker.server.relay")

EVENT_STREAM = b"text/event-stream"
EVENT_END = b"\n\n"
MAX_REFUSAL_BYTES = 4096
"""A refusal is a short text; of what is longer, the code is not looked at."""

REFUSALS = (404, 421, 503)
"""Statuses by which a server says that it is not the owner of a stream, or not for long."""

HUNG_UP = 499
"""The status for nobody: the client left before there was a reply."""


class RelayedCall(Response):
    """A call that is passed on. First `ask`, then it is the reply."""

    def __init__(self, relay: FleetRelay, request: Request, owner: OwnedElsewhere) -> None:
        super().__init__(None, 200)
        self._relay, self._request, self._owner = relay, request, owner
        self._path = request.url.path
        self._trace = relay.traced(request.scope["headers"])
        self._ending: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._is_asked = asyncio.Event()
        self._left: asyncio.Future[None] | None = None
        self._target = target_of(owner.url, request.scope)
        self._hop: Hop | None = None
        self._refusal: bytes | None = None

    def drain(self) -> None:
        """Readers of events are let go; a call that will end by itself goes on."""
        if self._path.endswith("/events"):
            self.end_now()

    def end_now(self) -> None:
        self._end("drained")

    def lose(self) -> None:
        self._end("lost")

    def _end(self, outcome: Outcome) -> None:
        if not self._ending.done():
            self._ending.set_result(outcome)

    async def ask(self) -> Response:
        """Pass the call on, and return the reply once it begins.

        Raises:
            OwnerGone: the owner's port refuses connections; nothing of the body has been read.
            OwnerUnreached: it takes no connection in time; the same holds.
            OwnerLost: the owner went away or fell silent before it replied.
            what reading the request's body does.
        """
        self._relay.begin(self, self._owner.server, self._trace)
        try:
            await self._relay.check_heard(self._owner)
        except OwnerGone:
            await self._close("gone")
            raise
        except OwnerLost:
            await self._close("lost")
            raise
        self._left = asyncio.ensure_future(self._hung_up())
        asking = asyncio.ensure_future(self._ask())
        try:
            ends: list[asyncio.Future[Any]] = [asking, self._left, self._ending]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._ending.done() and not asking.done():
                if self._ending.result() == "lost":
                    raise self._lost(TimeoutError("nothing is heard of it"))
                raise ShuttingDown("the server is shutting down; try another one")
            if not asking.done():
                raise ClientDisconnect
            self.status_code, told = asking.result()
        except ClientDisconnect:
            await self._close("left", asking)
            return Response(status_code=HUNG_UP)
        except ConnectionRefusedError as error:
            self._relay.doubt(self._owner)
            await self._close("gone", asking)
            raise OwnerGone(str(error)) from error
        except Unreached as error:
            await self._close("unreached", asking)
            raise self._relay.unreached(self._owner) from error
        except HopFailed as error:
            await self._close("lost", asking)
            raise self._lost(error) from error
        except BaseException:
            await self._close(self._ending.result() if self._ending.done() else "left", asking)
            raise
        self._is_asked.set()  # an owner may reply before it has the whole body
        if self.status_code in (404, 421):
            self._relay.doubt(self._owner)
        self.raw_headers = told_back(told, server=self._owner.server)
        return self

    async def refusal(self) -> str | None:
        """The code of the error with which the server refused; None where it did not, or not as one
        that is not the stream's owner does. Call it once `ask` has returned."""
        length = dict(self.raw_headers).get(b"content-length", b"")
        if self.status_code not in REFUSALS or not length.isdigit():
            return None
        if int(length) > MAX_REFUSAL_BYTES:
            return None
        try:
            self._refusal = b"".join([piece async for piece in self._pieces()])
            code = json.loads(self._refusal)["error"]["code"]
        except HopFailed:
            return None
        except (ValueError, KeyError, TypeError):
            return None
        return str(code)

    async def give_up(self) -> None:
        """Let go of the reply without passing it back."""
        await self._close("refused")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outcome: Outcome = "left"
        is_cut_short = False
        passing = asyncio.ensure_future(self._pass_back(send))
        try:
            assert self._left is not None
            ends: list[asyncio.Future[Any]] = [passing, self._left, self._ending]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if passing.done():
                outcome = passing.result()
            elif self._ending.done():
                outcome, is_cut_short = self._ending.result(), True
        finally:
            await self._close(outcome, passing)
        if is_cut_short and self._is_event_stream:
            last = b""
            if outcome == "lost":
                last = self._told(self._lost(TimeoutError("nothing is heard of it")))
            with suppress(OSError):
                await send({"type": "http.response.body", "body": last})

    # ---- there

    async def _ask(self) -> tuple[int, RawHeaders]:
        headers: Iterable[tuple[bytes, bytes]] = self._request.scope["headers"]
        names = {name for name, _ in headers}
        has_body = not names.isdisjoint((b"content-length", b"transfer-encoding"))
        if not has_body:
            self._is_asked.set()
        place = None if self._trace is None else self._trace.place
        self._hop = await self._relay.hops.take(self._target.site)
        return await self._hop.ask(
            self._request.method,
            self._target.path,
            asked_on(headers, host=self._target.host, by=self._relay.name, place=place),
            self._body() if has_body else None,
            is_chunked=b"transfer-encoding" in names,
        )

    def _pieces(self) -> AsyncIterator[bytes]:
        assert self._hop is not None
        return self._hop.pieces()

    async def _body(self) -> AsyncIterator[bytes]:
        async for piece in self._request.stream():
            if piece:
                yield piece
        self._is_asked.set()

    async def _hung_up(self) -> None:
        """Return when the client has, once its body was read."""
        await self._is_asked.wait()
        await disconnected(self._request.receive)

    # ---- back

    @property
    def _is_event_stream(self) -> bool:
        return any(n == b"content-type" and EVENT_STREAM in v for n, v in self.raw_headers)

    async def _pass_back(self, send: Send) -> Outcome:
        head = {"status": self.status_code, "headers": self.raw_headers}
        pieces = self._pieces() if self._refusal is None else _whole(self._refusal)
        try:
            await self._put(send, {"type": "http.response.start", **head})
            async for piece in (
                _whole_events(pieces, max_bytes=self._relay.server.max_queued_bytes)
                if self._is_event_stream
                else pieces
            ):
                await self._put(
                    send, {"type": "http.response.body", "body": piece, "more_body": True}
                )
            await self._put(send, {"type": "http.response.body", "body": b""})
        except TimeoutError:
            return "slow_reader"
        except OSError:
            return "left"
        except HopFailed as error:
            lost = self._lost(error)
            if self._is_event_stream:  # else what was promised cannot be told from what is missing
                with suppress(OSError, TimeoutError):
                    await self._put(send, {"type": "http.response.body", "body": self._told(lost)})
            return "lost"
        return "refused" if self.status_code >= 400 else "done"

    async def _put(self, send: Send, message: dict[str, Any]) -> None:
        async with asyncio.timeout(self._relay.server.send_timeout_s):
            await send(message)

    def _told(self, lost: OwnerLost) -> bytes:
        if self._path.endswith("/chat/completions"):  # in OpenAI's form
            return b"data: " + reply_of(lost)[2] + EVENT_END
        return sse_text(ErrorEvent(error=body_of(lost)))

    def _lost(self, error: Exception) -> OwnerLost:
        self._relay.doubt(self._owner)
        _log.warning(
            "the owner of a stream went away in the midst of a call",
            extra={"server": self._owner.server, "error": repr(error)},
        )
        return OwnerLost(
            f"the server '{self._owner.server}', which has the stream, went away before the call "
            "had ended: try again; another server takes the stream over",
            retry_after_s=1.0,
        )

    async def _close(self, outcome: Outcome, *tasks: "asyncio.Future[Any]") -> None:
        """Let go of the owner and of what waits for either end."""
        waiting = [*tasks, *([self._left] if self._left is not None else [])]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        if self._hop is not None:
            hop, self._hop = self._hop, None
            self._relay.hops.give_back(hop, self._target.site)
        self._relay.end(self, "http", outcome)


async def _whole(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _whole_events(pieces: AsyncIterator[bytes], *, max_bytes: int) -> AsyncIterator[bytes]:
    """The bytes of an event stream, cut behind events. Of an event of more than `max_bytes`, the
    pieces are given as they come."""
    begun = b""
    async for piece in pieces:
        begun += piece
        end = begun.rfind(EVENT_END) + len(EVENT_END)
        if end < len(EVENT_END) and len(begun) > max_bytes:
            end = len(begun)
        if end >= len(EVENT_END):
            yield begun[:end]
            begun = begun[end:]
    if begun:
        yield begun
