"""`AttackTarget`: the server that is attacked, always on loopback, and the ways to reach it."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from onlooker.benchmarks.lone_server import HOST

ANSWER_S = 30.0
"""How long one answer is waited for; the attack's own deadline usually comes first."""


@dataclass(frozen=True, slots=True)
class AttackTarget:
    """Where the server listens, the attacker's key, and how much to do."""

    port: int
    key: str
    seed: int = 1
    seconds: float = 10.0
    """How long an attack goes on that has no end of its own."""
    messages: int = 200_000
    """Messages of the protocol's fuzzer."""
    payloads: int = 10_000
    """Mutated payloads for each codec."""

    @asynccontextmanager
    async def http(self, *, with_key: bool = True) -> AsyncIterator[httpx.AsyncClient]:
        """A client of the HTTP door."""
        headers = {"authorization": f"Bearer {self.key}"} if with_key else {}
        async with httpx.AsyncClient(
            base_url=f"http://{HOST}:{self.port}",
            headers=headers,
            timeout=ANSWER_S,
            trust_env=False,
        ) as client:
            yield client

    @asynccontextmanager
    async def realtime(
        self, *, key: str | None = None, stream: str | None = None
    ) -> AsyncIterator["RealtimeLink"]:
        """A connection of the WebSocket door.

        Raises:
            InvalidHandshake, OSError: the server did not let it in.
        """
        query = f"?stream={stream}" if stream else ""
        async with connect(
            f"ws://{HOST}:{self.port}/v1/realtime{query}",
            additional_headers={"authorization": f"Bearer {key or self.key}"},
            compression=None,
            ping_interval=None,
            max_size=None,
            open_timeout=ANSWER_S,
            close_timeout=1.0,
            proxy=None,
        ) as connection:
            yield RealtimeLink(connection)

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare socket."""
        return await asyncio.open_connection(HOST, self.port)

    def head(self, line: str, headers: Mapping[str, str]) -> bytes:
        """The head of an HTTP/1.1 request, as bytes; `line` is method and path."""
        lines = [f"{line} HTTP/1.1", f"Host: {HOST}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class RealtimeLink:
    """One WebSocket: events out, events in."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @property
    def close_code(self) -> int | None:
        """With which code the connection was closed; None while it is open."""
        return self._connection.close_code

    async def send(self, event: Mapping[str, Any] | str | bytes) -> None:
        """Send an event, or text or bytes as they are."""
        await self._connection.send(event if isinstance(event, str | bytes) else json.dumps(event))

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Events as they come, until the connection ends."""
        try:
            async for text in self._connection:
                yield json.loads(text)
        except ConnectionClosed:
            return

    async def until(self, *types: str) -> dict[str, Any] | None:
        """The next event of one of `types`; None where the connection ends before."""
        async for event in self.events():
            if event["type"] in types:
                return event
        return None


NOT_LET_IN = (InvalidHandshake, OSError, TimeoutError)
"""What `AttackTarget.realtime` raises when the server lets nobody in or is too busy to answer."""
HUNG_UP = (ConnectionClosed, httpx.TransportError, OSError)
"""What a send or a wait raises when the server has ended the connection."""
