"""Dialling a stream's owner: a realtime connection to another server, as the caller's own."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from onlooker.core.errors import OwnedElsewhere
from onlooker.server.fleet.fleet_relay import FleetRelay, RelayTrace, target_of
from onlooker.server.fleet.headers import asked_on
from onlooker.server.fleet.reach import Site, Unreached

HANDSHAKE_S = 10.0
"""How long the owner gets to take the connection, once its port has."""

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
        OwnerUnreached: it takes no connection in time.
        OSError, TimeoutError, WebSocketException: it does not answer.
    """
    server = relay.server
    place = None if trace is None else trace.place
    target = target_of(owner.url, scope)
    site, host = target.site, target.host
    base = f"{'wss' if site.is_secure else 'ws'}://{host.decode()}{target.path.decode()}"
    headers = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in asked_on(scope["headers"], host=host, by=relay.name, place=place)
        if name != b"host"
    }
    user_agent = headers.pop("user-agent", None)
    connected = await _connected(relay, site, owner)
    async with asyncio.timeout(HANDSHAKE_S):
        return await connect(
            base,
            sock=connected,
            additional_headers=list(headers.items()),
            user_agent_header=user_agent,
            subprotocols=scope.get("subprotocols") or None,
            compression=None,
            proxy=None,
            ssl=relay.trust if site.is_secure else None,
            server_hostname=site.host if site.is_secure else None,
            open_timeout=None,
            ping_interval=server.ping_interval_s,
            ping_timeout=server.ping_timeout_s,
            close_timeout=FAREWELL_S,
            max_size=max(server.max_message_bytes, server.max_queued_bytes),
            max_queue=MAX_WAITING,
        )


async def _connected(relay: FleetRelay, site: Site, owner: OwnedElsewhere) -> socket.socket:
    """A socket that is connected to a server."""
    loop = asyncio.get_running_loop()
    try:
        with relay.reach.attempt(site):
            async with asyncio.timeout(relay.reach.limit_s):
                found = await loop.getaddrinfo(site.host, site.port, type=socket.SOCK_STREAM)
                family, kind, protocol, _, address = found[0]
                connected = socket.socket(family, kind, protocol)
                try:
                    connected.setblocking(False)
                    await loop.sock_connect(connected, address)
                except BaseException:
                    connected.close()
                    raise
    except Unreached as error:
        raise relay.unreached(owner) from error
    return connected


async def hang_up(connection: ClientConnection, code: int, reason: str) -> None:
    """Close the connection to an owner; one that takes nothing more is hung up on."""
    try:
        async with asyncio.timeout(FAREWELL_S):
            await connection.close(code, reason)
    except TimeoutError:
        connection.transport.abort()
