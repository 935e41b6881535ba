"""What every HTTP request passes first: page origin, key, a place, body size and time, and safe
headers. Nothing of a body is read for somebody who shows no key."""

import asyncio
from contextlib import ExitStack, suppress

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onlooker.core.errors import OnlookerError, TooLarge, Unauthorized
from onlooker.core.trace import TraceParent, asked_by
from onlooker.server.auth import bearer
from onlooker.server.bodies import RefusedBody
from onlooker.server.errors import SlowBody, reply_of
from onlooker.server.gateway import Gateway
from onlooker.server.lobby import admitted

FRAME_PATH_END = "/frames"
IMPORT_PATH_END = "/imports"
PICTURE_PATH_ENDS = ("/chat/completions", "/responses")
"""Calls whose JSON may hold pictures."""

ALWAYS_ANSWERED = ("/healthz", "/readyz", "/metrics", "/v1/models")
"""What is answered when all places are taken, too: it says how the server is, and costs nothing."""

DISCARD_BYTES = 64 << 20
DISCARD_S = 2.0
"""Bytes and seconds of a refused body that are read and thrown away. Clients send a whole body
before they read the reply; hanging up at once would reset the connection, and they would never see
why."""


class RequestGuard:
    """Refuses foreign web pages and bodies of strangers, and bounds how many requests run; counts a
    body while it is read, so that no more is kept."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._gateway.tracer is not None:
            asked_by.set(TraceParent.brought(scope["headers"]))
        limit = self._limit(scope)
        with ExitStack() as held:
            try:
                self._let_in(scope, held, max_body_bytes=limit)
            except OnlookerError as error:
                await _refuse(self._gateway, error, receive, send)
                return
            settings = self._gateway.settings
            timeout_s = settings.server.body_timeout_s
            if _is_upload(scope):
                timeout_s = settings.streams.imports.upload_timeout_s
            counted = self._counted(receive, limit, timeout_s)
            await self._app(scope, counted, _with_safe_headers(send))

    def _let_in(self, scope: Scope, held: ExitStack, *, max_body_bytes: int) -> None:
        """Take a place for the request. Who shows no key takes none, and may only read; whether
        there is something for strangers to read is up to the routes.

        Raises:
            Forbidden: a foreign web page.
            Unauthorized: a body without a key.
            Overloaded: there is no place.
            TooLarge: the body will be too large.
        """
        headers = Headers(scope=scope)
        self._gateway.origins.check(origin=headers.get("origin"), host=headers.get("host"))
        if self._is_known(scope, headers):
            held.enter_context(admitted(scope))
            if not _path(scope).startswith(ALWAYS_ANSWERED):
                held.enter_context(self._gateway.requests.take())
        length = headers.get("content-length")
        if length is not None and length.isdigit() and int(length) > max_body_bytes:
            raise _too_large(max_body_bytes)

    def _is_known(self, scope: Scope, headers: Headers) -> bool:
        """Whether a valid key or token is shown, or none is needed. Raises `Unauthorized` for
        others whose request may have a body."""
        credential = bearer(headers.get("authorization"))
        is_reading = scope["method"] in ("GET", "HEAD", "OPTIONS")
        if credential is None and is_reading:
            credential = QueryParams(scope["query_string"]).get("token")
        try:
            self._gateway.auth.check(credential)
        except Unauthorized:
            if is_reading:
                return False
            raise
        return True

    def _limit(self, scope: Scope) -> int:
        settings = self._gateway.settings
        if _is_upload(scope):
            return settings.streams.imports.max_upload_bytes
        if _path(scope).endswith(FRAME_PATH_END):
            return settings.streams.max_frame_bytes
        if _path(scope).endswith(PICTURE_PATH_ENDS):
            return settings.server.max_body_bytes
        return settings.server.max_json_bytes

    def _counted(self, receive: Receive, limit: int, timeout_s: float) -> Receive:
        received = 0
        is_whole = False
        until_s = self._gateway.clock.now_s() + timeout_s

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


def _is_upload(scope: Scope) -> bool:
    """Whether the body is a recording, which goes to the disk as it comes."""
    if scope["method"] != "POST" or not _path(scope).endswith(IMPORT_PATH_END):
        return False
    content_type = Headers(scope=scope).get("content-type", "")
    return not content_type.lower().startswith("application/json")


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


async def _refuse(gateway: Gateway, error: OnlookerError, receive: Receive, send: Send) -> None:
    """Answer at once, whole, and hang up when the body that still comes has been thrown away."""
    gateway.metrics.client_errors.labels(code=error.code).inc()
    status, headers, body = reply_of(error)
    headers["connection"] = "close"
    headers["content-length"] = str(len(body))
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await _discard(receive)
    await send({"type": "http.response.body", "body": b""})


def _with_safe_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("x-content-type-options", "nosniff")
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return wrapped
