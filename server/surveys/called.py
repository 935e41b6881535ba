"""Calls that this server makes for a caller: about a stream, wherever it is, or to other servers.

They carry the caller's own key or token, which each server checks, as it does that of everybody.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from onlooker.server.bodies import JsonRequest
from onlooker.server.fleet.fleet_relay import FleetRelay, HopTarget, target_of
from onlooker.server.fleet.headers import asked_on
from onlooker.server.fleet.hop import HopFailed
from onlooker.server.fleet.reach import Unreached

MAX_REPLY_BYTES = 4 << 20
"""The longest reply that is read of another server."""

_OF_THE_BODY = (b"content-length", b"content-type", b"transfer-encoding", b"accept-encoding")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class NoReply(Exception):
    """Another server gave no reply that could be read; the message says why."""


@dataclass(frozen=True, slots=True)
class _Route:
    """What the relay reads of a route."""

    path_format: str


def call_for(
    request: Request, method: str, path: str, body: Any = None, **named: str
) -> JsonRequest:
    """A call of this server's own, as if the caller of `request` had made it. `path` has places in
    braces for what is `named`."""
    data = b"" if body is None else json.dumps(body).encode()
    headers = [(k, v) for k, v in request.scope["headers"] if k not in _OF_THE_BODY]
    if body is not None:
        headers += [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(data)).encode()),
        ]
    filled = path.format(**named)
    scope = {
        **request.scope,
        "method": method,
        "path": filled,
        "raw_path": filled.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "path_params": named,
        "route": _Route(path),
        "state": {},
    }
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.get_running_loop().create_future()  # nobody hangs up but by cancelling
        sent = True
        return {"type": "http.request", "body": data, "more_body": False}

    return JsonRequest(scope, receive)


async def whole_reply(reply: Response, request: Request) -> tuple[int, bytes]:
    """Status and body of a reply, such as one that comes from another server."""
    pieces: list[bytes] = []
    size = 0

    async def send(message: Message) -> None:
        nonlocal size
        if message["type"] == "http.response.body":
            size += len(message.get("body", b""))
            if size > MAX_REPLY_BYTES:
                raise NoReply(f"it is longer than {MAX_REPLY_BYTES} bytes")
            pieces.append(message.get("body", b""))

    await reply(request.scope, request.receive, send)
    return reply.status_code, b"".join(pieces)


async def get_at(
    relay: FleetRelay, base: str, path: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> Any:
    """The JSON that another server, reached at `base`, gives to a caller with these headers.

    Raises:
        NoReply: it gives none.
    """
    target = _target(base, path)
    kept = [(k, v) for k, v in headers if k not in _OF_THE_BODY]
    try:
        hop = await relay.hops.take(target.site)
    except (ConnectionRefusedError, Unreached, TimeoutError, OSError) as error:
        raise NoReply(str(error) or "it cannot be connected to") from error
    try:
        status, _ = await hop.ask(
            "GET", target.path, asked_on(kept, host=target.host, by=relay.name)
        )
        body = b""
        async for piece in hop.pieces():
            body += piece
            if len(body) > MAX_REPLY_BYTES:
                raise NoReply(f"its reply is longer than {MAX_REPLY_BYTES} bytes")
    except HopFailed as error:
        raise NoReply(str(error)) from error
    finally:
        relay.hops.give_back(hop, target.site)
    if status != 200:
        raise NoReply(f"it answered with status {status}")
    try:
        return json.loads(body)
    except ValueError as error:
        raise NoReply("its reply is no JSON") from error


def _target(base: str, path: bytes) -> HopTarget:
    from_path, _, query = path.partition(b"?")
    scope = {"raw_path": from_path, "root_path": "", "query_string": query}
    return target_of(base, scope)
