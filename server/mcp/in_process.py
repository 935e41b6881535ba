"""`InProcessTransport`: httpx requests that an ASGI app of this process answers.

httpx has such a transport too, which returns a reply when it is whole; a reply that goes on, as
server-sent events do, comes through this one piece by piece.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
from starlette.types import ASGIApp, Message, Scope

from onlooker.core.waiting import cancel

MAX_PIECES = 16
"""Pieces of a reply that wait for their reader; then the app waits."""


class InProcessTransport(httpx.AsyncBaseTransport):
    """Hands requests to an app, as if they had come over a connection of their own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        call = _Call(self._app, _scope_of(request), await request.aread())
        try:
            start = await call.next()
        except BaseException:
            await call.aclose()
            raise
        if start is None:
            raise httpx.RemoteProtocolError("the server ended without a reply", request=request)
        return httpx.Response(start["status"], headers=start["headers"], stream=call)


class _Call(httpx.AsyncByteStream):
    """One request that the app answers in a task of its own, and the body of the reply."""

    def __init__(self, app: ASGIApp, scope: Scope, body: bytes) -> None:
        self._body: bytes | None = body
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(MAX_PIECES)
        self._is_closed = asyncio.Event()
        self._task = asyncio.create_task(self._run(app, scope), name="in-process call")

    async def next(self) -> Message | None:
        """The app's next message; None: there are no more."""
        return await self._messages.get()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self.next()) is not None:
            if piece := message.get("body", b""):
                yield piece
            if not message.get("more_body", False):
                self._is_closed.set()  # as servers do; the app still ends what it does

    async def aclose(self) -> None:
        """Hang up: the app is told, and its work on a reply that nobody reads is broken off."""
        self._is_closed.set()
        await cancel(self._task)

    async def _run(self, app: ASGIApp, scope: Scope) -> None:
        with suppress(Exception):  # the app has logged it and told the caller before
            await app(scope, self._receive, self._messages.put)
        await self._messages.put(None)

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._is_closed.wait()
        return {"type": "http.disconnect"}


def _scope_of(request: httpx.Request) -> dict[str, Any]:
    raw_path, _, query = request.url.raw_path.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": raw_path,
        "root_path": "",
        "query_string": query,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "server": (request.url.host, request.url.port),
        "client": ("127.0.0.1", 0),
        "extensions": {},
    }
