"""Dialling a stream's owner: a realtime connection to another server, as the caller's own."""

import asyncio
from collections.abc import Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from onlooker.core.errors import OwnedElsewhere
from onlooker.server.fleet.fleet_relay import FleetRelay, RelayTrace, target_of
from onlooker.server.fleet.headers import asked_on

HANDSHAKE_S = 10.0
"""How long the owner gets to take the connection."""

FAREWELL_S = 1.0
"""How long it gets to answer a close."""

MAX_WAITING = 4
"""Messages of the owner that wait for the client to read; with so many the owner is not read."""


async def dial_owner(
    relay: FleetRelay,
    scope: Mapping[str, Any],
    owner: OwnedElsewhere,
    trace: RelayTrace | None,
) -> ClientConnection:
    """Connect to a stream's owner as the ASGI scope of a client's connection says: with its path
    and query, and what it shows of itself. `trace`: of this relay.

    Raises:
        InvalidStatus: the owner refused.
        ConnectionRefusedError: its port refuses connections.
        OSError, TimeoutError, WebSocketException: it does not answer.
    """
    server = relay.server
    url, host = target_of(owner.url, scope)
    place = None if trace is None else trace.place
    secure = url.scheme == b"https"
    base = f"{'wss' if secure else 'ws'}://{host.decode()}{url.target.decode()}"
    headers = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in asked_on(scope["headers"], host=host, by=relay.name, place=place)
        if name != b"host"
    }
    user_agent = headers.pop("user-agent", None)
    async with asyncio.timeout(HANDSHAKE_S):
        return await connect(
            base,
            additional_headers=list(headers.items()),
            user_agent_header=user_agent,
            subprotocols=scope.get("subprotocols") or None,
            compression=None,
            proxy=None,
            ssl=relay.trust if secure else None,
            open_timeout=None,
            ping_interval=server.ping_interval_s,
            ping_timeout=server.ping_timeout_s,
            close_timeout=FAREWELL_S,
            max_size=max(server.max_message_bytes, server.max_queued_bytes),
            max_queue=MAX_WAITING,
        )


async def hang_up(connection: ClientConnection, code: int, reason: str) -> None:
    """Close the connection to an owner; one that takes nothing more is hung up on."""
    try:
        async with asyncio.timeout(FAREWELL_S):
            await connection.close(code, reason)
    except TimeoutError:
        connection.transport.abort()
