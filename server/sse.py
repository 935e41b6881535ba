"""Server-sent events: a response that ends with its reader and waits for none who stalls.

The package `sse-starlette` was looked at in its place (3.7). It leaves an iterator that was begun
before the response open when the reader is gone before the first chunk; it stops at shutdown only
where a signal stops uvicorn, which it notices by patching uvicorn's server class and by looking
twice a second; and it lets a reader stall over the head of the response.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, Generic, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from onlooker.core.clock import Clock
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.core.protocol.server_events import ErrorEvent
from onlooker.server.config import ServerSection
from onlooker.server.errors import body_of
from onlooker.server.rights import Grant, expiry

T = TypeVar("T")

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}
COMMENT = b": still here\n\n"


def sse_text(event: ServerEvent, *, event_id: int | None = None) -> bytes:
    """One event as text: its type, its number, its JSON."""
    number = "" if event_id is None else f"id: {event_id}\n"
    return f"event: {event.type}\n{number}data: {event.model_dump_json()}\n\n".encode()  # type: ignore[attr-defined]


class NumberedText:
    """Encodes events, numbered 1, 2, 3 …, as the WebSocket's writer numbers them."""

    def __init__(self) -> None:
        self._num_sent = 0

    def __call__(self, event: ServerEvent) -> bytes:
        self._num_sent += 1
        event.sequence_number = self._num_sent
        event.event_id = f"event_{self._num_sent}"
        return sse_text(event)


class EventResponse(Response, Generic[T]):
    """Sends what a generator yields, each thing as soon as it comes.

    One task reads the generator and sends. A quiet line gets a comment now and then; a reader who
    takes nothing for so long as the settings allow, or hangs up, ends the generator at once.
    """

    def __init__(
        self,
        events: AsyncGenerator[T],
        encode: Callable[[T], bytes],
        *,
        clock: Clock,
        settings: ServerSection,
        begun: Sequence[T] = (),
        stopping: asyncio.Event | None = None,
        grant: Grant | None = None,
    ) -> None:
        """`encode` gives no bytes for what is not sent. `begun`: what comes before `events`, such
        as what was taken from them already. `stopping` ends the response, and so does the end of
        `grant`, of which the reader is told."""
        super().__init__(None, 200, HEADERS)
        del self.headers["content-length"]
        self._events, self._encode, self._begun = events, encode, begun
        self._clock, self._settings = clock, settings
        self._stopping = stopping or asyncio.Event()
        self._grant = grant or Grant()
        self._sent_at_s = clock.now_s()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(TimeoutError, OSError):
            async with aclosing(self._events):
                head = {"status": self.status_code, "headers": self.raw_headers}
                await self._put(send, {"type": "http.response.start", **head})
                if await self._serve(receive, send):
                    await self._put(send, {"type": "http.response.body", "body": b""})

    async def _serve(self, receive: Receive, send: Send) -> bool:
        """Send until the events end, or something else ends them; returns whether the reader is
        still there."""
        left = asyncio.ensure_future(disconnected(receive))
        work: list[asyncio.Future[Any]] = [
            left,
            asyncio.ensure_future(self._send_all(send)),
            asyncio.ensure_future(self._fill_silence(send)),
            asyncio.ensure_future(self._stopping.wait()),
        ]
        if self._grant.expires_at is not None:
            work.append(asyncio.ensure_future(self._expire(send)))
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            return left not in done
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        for event in self._begun:
            await self._put_body(send, self._encode(event))
        async for event in self._events:
            await self._put_body(send, self._encode(event))

    async def _fill_silence(self, send: Send) -> None:
        keepalive_s = self._settings.sse_keepalive_s
        while True:
            quiet_s = self._clock.now_s() - self._sent_at_s
            if quiet_s >= keepalive_s:
                await self._put_body(send, COMMENT)
            else:
                await self._clock.sleep(keepalive_s - quiet_s)

    async def _expire(self, send: Send) -> None:
        error = await expiry(self._grant, self._clock)
        await self._put_body(send, sse_text(ErrorEvent(error=body_of(error))))

    async def _put_body(self, send: Send, chunk: bytes) -> None:
        if chunk:
            await self._put(send, {"type": "http.response.body", "body": chunk, "more_body": True})

    async def _put(self, send: Send, message: dict[str, Any]) -> None:
        self._sent_at_s = self._clock.now_s()
        async with asyncio.timeout(self._settings.send_timeout_s):
            await send(message)


async def disconnected(receive: Receive) -> None:
    """Return when the peer has hung up; its body must have been read before."""
    while (await receive())["type"] != "http.disconnect":
        pass
