"""The doorstep: where a socket stands while its TLS handshake is under way.

asyncio would do the handshake before anyone here hears of the socket, for a minute and for as many
as come. Standing here, a socket is a guest of the lobby like any other: it has to hurry, and makes
room for others.
"""

import asyncio
import logging
import ssl
from typing import Any, ClassVar

from uvicorn.config import Config
from uvicorn.server import ServerState

from onlooker.server.certificates import Certificates
from onlooker.server.lobby import Lobby
from onlooker.server.transport import BoundedHttpProtocol, TransportLimits

_log = logging.getLogger("onlooker.server.doorstep")


class Doorstep(asyncio.Protocol):
    """Makes an encrypted connection of a socket, and hands it to the HTTP protocol."""

    limits: ClassVar[TransportLimits]
    lobby: ClassVar[Lobby]
    certificates: ClassVar[Certificates]
    inside: ClassVar[type[BoundedHttpProtocol]]
    """The protocol of what happens behind the door."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config, self._state, self._app_state = config, server_state, app_state
        self._transport: asyncio.Transport | None = None
        self._host = ""
        self._early: list[bytes] = []
        self._is_lost = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.pause_reading()  # what comes is for TLS
        peer = transport.get_extra_info("peername")
        self._transport = transport
        self._host = str(peer[0]) if isinstance(peer, tuple) else ""
        self.lobby.enter(transport, self._host)
        self._state.connections.add(self)  # type: ignore[arg-type] # for its `shutdown`
        task = asyncio.create_task(self._enter(transport), name="TLS handshake")
        self._state.tasks.add(task)  # where uvicorn keeps and ends them
        task.add_done_callback(self._state.tasks.discard)

    def data_received(self, data: bytes) -> None:
        """Called with what the peer sent along with the end of its handshake."""
        self._early.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True

    def shutdown(self) -> None:
        """Called by uvicorn when the server stops."""
        assert self._transport is not None
        self._transport.abort()

    async def _enter(self, transport: asyncio.Transport) -> None:
        try:
            encrypted = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                self.certificates.current.context,
                server_side=True,
                ssl_handshake_timeout=self.limits.guest_patience_s,
            )
        except (OSError, ssl.SSLError) as error:
            self.lobby.count("no_tls")
            why = getattr(error, "reason", None) or str(error) or "the peer left"
            _log.info("a TLS handshake failed", extra={"peer": self._host, "why": why})
            transport.abort()
            return
        finally:
            self.lobby.leave(transport)
            self._state.connections.discard(self)
        if encrypted is None or self._is_lost or encrypted.is_closing():
            return
        inside = self.inside(self._config, self._state, self._app_state)
        encrypted.set_protocol(inside)
        inside.connection_made(encrypted)
        for data in self._early:
            inside.data_received(data)


def behind_tls(
    inside: type[BoundedHttpProtocol], certificates: Certificates
) -> type[asyncio.Protocol]:
    """A protocol class that does the handshake and then hands over to `inside`; uvicorn makes one
    for each connection."""
    known = {
        "limits": inside.limits,
        "lobby": inside.lobby,
        "certificates": certificates,
        "inside": inside,
    }
    return type("TlsDoorstep", (Doorstep,), known)
