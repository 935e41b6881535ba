"""Server-sent events: a response that ends with its reader and waits for none who stalls."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from onlooker.core.protocol.server_events import ServerEvent

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}


def sse_text(event: ServerEvent, *, event_id: int | None = None) -> bytes:
    """One event as text: its type, its number, its JSON."""
    number = "" if event_id is None else f"id: {event_id}\n"
    return f"event: {event.type}\n{number}data: {event.model_dump_json()}\n\n".encode()  # type: ignore[attr-defined]


def numbered(event: ServerEvent, number: int) -> ServerEvent:
    """Fill in an event's own number, as the WebSocket's writer does."""
    event.sequence_number = number
    event.event_id = f"event_{number}"
    return event


class EventResponse(Response):
    """Sends what a generator of encoded events yields.

    A quiet line gets a comment now and then; a reader who takes nothing for `send_timeout_s` or
    hangs up ends the generator.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes],
        *,
        keepalive_s: float,
        send_timeout_s: float,
        stopping: asyncio.Event | None = None,
    ) -> None:
        super().__init__(None, 200, HEADERS)
        del self.headers["content-length"]
        self._events = events
        self._keepalive_s = keepalive_s
        self._send_timeout_s = send_timeout_s
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(TimeoutError, OSError):
            async with aclosing(self._events):
                await self._put(
                    send,
                    {
                        "type": "http.response.start",
                        "status": self.status_code,
                        "headers": self.raw_headers,
                    },
                )
                await self._serve(receive, send)

    async def _serve(self, receive: Receive, send: Send) -> None:
        left = asyncio.ensure_future(disconnected(receive))
        stopping = asyncio.ensure_future((self._stopping or asyncio.Event()).wait())
        following: asyncio.Future[bytes] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(anext(self._events))
                done, _ = await asyncio.wait(
                    (following, left, stopping),
                    timeout=self._keepalive_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if following in done:
                    try:
                        chunk = following.result()
                    except StopAsyncIteration:
                        break
                    following = None
                elif done:
                    break
                else:
                    chunk = b": still here\n\n"
                await self._put(
                    send, {"type": "http.response.body", "body": chunk, "more_body": True}
                )
            if not left.done():
                await self._put(send, {"type": "http.response.body", "body": b""})
        finally:
            for waiting in (left, stopping, following):
                if waiting is not None:
                    waiting.cancel()
                    with suppress(asyncio.CancelledError, Exception):
                        await waiting

    async def _put(self, send: Send, message: dict[str, object]) -> None:
        async with asyncio.timeout(self._send_timeout_s):
            await send(message)


async def disconnected(receive: Receive) -> None:
    """Return when the peer has hung up; its body must have been read before."""
    while (await receive())["type"] != "http.disconnect":
        pass
