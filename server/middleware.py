"""What every HTTP request passes first: page origin, body size and time, and safe headers."""

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onlooker.core.errors import ClientError, OnlookerError, TooLarge
from onlooker.server.errors import SlowBody, face_of, reply_of
from onlooker.server.gateway import Gateway

FRAME_PATH_END = "/frames"

DISCARD_BYTES = 64 << 20
DISCARD_S = 2.0
"""Bytes and seconds of a refused body that are read and thrown away. Clients send a whole body
before they read the reply; hanging up at once would reset the connection, and they would never see
why."""


class RefusedBody(HTTPException):
    """A body over its limits. Derives from `HTTPException` because FastAPI, which reads the body,
    lets only that pass."""

    def __init__(self, error: ClientError) -> None:
        super().__init__(face_of(error).http_status, error.message)
        self.error = error


class RequestGuard:
    """Refuses foreign web pages; counts a body while it is read, so that no more is kept."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = self._limit(scope)
        try:
            self._gateway.origins.check(origin=headers.get("origin"), host=headers.get("host"))
            length = headers.get("content-length")
            if length is not None and length.isdigit() and int(length) > limit:
                raise _too_large(limit)
        except OnlookerError as error:
            await _discard(receive)
            await _send_error(self._gateway, error, send)
            return
        await self._app(scope, self._counted(receive, limit), _with_safe_headers(send))

    def _limit(self, scope: Scope) -> int:
        settings = self._gateway.settings
        if scope["path"].endswith(FRAME_PATH_END):
            return settings.streams.max_frame_bytes
        return settings.server.max_body_bytes

    def _counted(self, receive: Receive, limit: int) -> Receive:
        received = 0
        is_whole = False
        until_s = self._gateway.clock.now_s() + self._gateway.settings.server.body_timeout_s

        async def counted() -> Message:
            nonlocal received, is_whole
            if is_whole:  # the next message is the disconnect, which may take its time
                return await receive()
            left_s = until_s - self._gateway.clock.now_s()
            try:
                async with asyncio.timeout(max(0.0, left_s)):
                    message = await receive()
            except TimeoutError:
                raise RefusedBody(SlowBody("the request body did not come in time")) from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                is_whole = not message.get("more_body", False)
                if received > limit:
                    del message
                    await _discard(receive)
                    raise RefusedBody(_too_large(limit))
            return message

        return counted


async def _discard(receive: Receive) -> None:
    """Read the rest of a body without keeping anything, within bounds."""
    left = DISCARD_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the request body may have {limit} bytes")


async def _send_error(gateway: Gateway, error: OnlookerError, send: Send) -> None:
    gateway.metrics.client_errors.labels(code=error.code).inc()
    status, headers, body = reply_of(error)
    headers["connection"] = "close"  # the body was not read
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _with_safe_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("x-content-type-options", "nosniff")
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return wrapped
