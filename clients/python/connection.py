"""Dialling `/v1/realtime`, and what the ways in which that fails mean."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from onlooker.clients.python.errors import (
    ConnectionLost,
    ServerUnreachable,
    error_from,
    error_from_reply,
)
from onlooker.clients.python.options import ClientOptions, is_loopback, websocket_base
from onlooker.core.errors import (
    Forbidden,
    InvalidRequest,
    OnlookerError,
    Overloaded,
    TokenExpired,
    TooLarge,
)
from onlooker.core.protocol.server_events import (
    ErrorEvent,
    SessionCreated,
    SessionObject,
    parse_server_event,
)

CLOSE_TIMEOUT_S = 2.0
"""Time that a server gets to answer our close."""

LEAVE_S = 3.0
"""Time that leaving a connection takes at most."""

MAX_EVENT_BYTES = 4 << 20
"""No event of the server comes near this; a message over it ends the connection."""

Dial = Callable[[], AbstractAsyncContextManager[tuple[ClientConnection, SessionObject]]]
"""`dial` with all its arguments given."""

DialAfter = Callable[
    [int | None], AbstractAsyncContextManager[tuple[ClientConnection, SessionObject]]
]
"""`dial` with all its arguments given but `after`."""

_CLOSED_FOR_GOOD: dict[int, type[OnlookerError]] = {
    1003: InvalidRequest,
    1008: Forbidden,
    1009: TooLarge,
}


@asynccontextmanager
async def dial(
    base_url: str,
    stream_id: str,
    api_key: str | None,
    options: ClientOptions,
    after: int | None = None,
) -> AsyncIterator[tuple[ClientConnection, SessionObject]]:
    """Connect to a stream and wait for `session.created`.

    `after` is the number of the stream's last event that was seen here; the server then sends the
    alerts that were missed since.

    Raises:
        ServerUnreachable: nothing answers there.
        OnlookerError: the server refused, and why.
    """
    query = {"stream": stream_id, "events": "all"}
    if after is not None:
        query["after"] = str(after)
    address = f"{websocket_base(base_url)}/v1/realtime?{urlencode(query)}"
    dialling = connect(
        address,
        additional_headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
        open_timeout=options.connect_timeout_s,
        ping_interval=options.heartbeat_s,
        ping_timeout=options.heartbeat_s,
        close_timeout=CLOSE_TIMEOUT_S,
        max_size=MAX_EVENT_BYTES,
        compression=None,
        user_agent_header="onlooker-python",
        proxy=None if is_loopback(base_url) else True,
        ssl=options.tls(base_url),
    )
    try:
        socket = await dialling
    except InvalidStatus as refusal:
        reply = refusal.response
        raise error_from_reply(
            reply.status_code, bytes(reply.body or b"").decode(errors="replace"),
            reply.headers.get("Retry-After"),
        ) from refusal  # fmt: skip
    except ssl.SSLCertVerificationError as error:
        raise untrusted(base_url, error) from error
    except (InvalidHandshake, ssl.SSLError) as error:
        raise InvalidRequest(
            f"something at {base_url} answers, but not as a WebSocket server: {error}"
        ) from error
    except (OSError, TimeoutError) as error:
        raise ServerUnreachable(
            f"nothing answers at {base_url}: {str(error) or 'no reply in time'}"
        ) from error
    try:
        yield socket, await _first_event(socket, options)
    except ConnectionClosed as closed:
        raise why_closed(closed) from closed
    finally:
        await _leave(socket)


def not_trusted(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The certificate's fault that `error` came from, if it did."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause


def untrusted(base_url: str, error: ssl.SSLCertVerificationError) -> InvalidRequest:
    """What a certificate that is not trusted means."""
    return InvalidRequest(
        f"the certificate of {base_url} is not trusted: {error.verify_message}. Name the file of "
        "its authority (ca_file, or --ca) if you know the server",
        param="ca_file",
    )


async def _leave(socket: ClientConnection) -> None:
    """Close; a server that reads nothing more is hung up on. The limit of `ClientConnection.close`
    begins only when all that was sent before has left."""
    try:
        async with asyncio.timeout(LEAVE_S):
            await socket.close()
    except TimeoutError:
        socket.transport.abort()


async def _first_event(socket: ClientConnection, options: ClientOptions) -> SessionObject:
    try:
        async with asyncio.timeout(options.connect_timeout_s):
            event = parse_server_event(await socket.recv())
    except TimeoutError as error:
        raise ServerUnreachable("the server took the connection but says nothing") from error
    except ValueError as error:
        raise InvalidRequest(f"the server does not speak this protocol: {error}") from error
    if isinstance(event, ErrorEvent):
        raise error_from(event.error)
    if not isinstance(event, SessionCreated):
        raise InvalidRequest(f"the server began with '{event.type}' instead of 'session.created'")
    return event.session


def why_closed(closed: ConnectionClosed) -> OnlookerError:
    """The error that a close code means for whoever was connected."""
    code = closed.rcvd.code if closed.rcvd else 1006
    reason = closed.rcvd.reason if closed.rcvd else ""
    if reason == TokenExpired.code:
        return TokenExpired("the token has expired; connect with a new one")
    if code in _CLOSED_FOR_GOOD:
        return _CLOSED_FOR_GOOD[code](reason or f"the server ended the connection with code {code}")
    if code == 1013:
        return Overloaded(reason or "the server asked to come back later")
    return ConnectionLost(reason or f"the connection was lost (code {code})")
