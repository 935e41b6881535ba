"""`Lobby`: sockets that nobody vouches for, and which of them go when there are too many.

A socket is a guest from the moment it is accepted, and again whenever nothing runs on it for a
caller who was let in. Guests are bounded, and the oldest gives way to the newest: somebody who
opens sockets and says nothing cannot keep others, or a probe of the server's health, from being
heard.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Literal, Protocol

from onlooker.core.clock import Clock
from onlooker.core.metrics import Metrics

ADMISSION = "onlooker.admission"
"""Extension of an ASGI scope under which the transport offers `Lobby.admitted` for its socket."""

Reason = Literal["crowded", "late", "head", "pipeline", "pings", "not_http", "no_tls"]
"""Why a socket is closed: too many guests; no whole request, or a reply not taken, in time; too
large a head; too many requests at once; too many pings; what came is no HTTP;
a TLS handshake that failed."""

GRACE_S = 1.0
"""A guest that came within this time does not give way to others from its own address: many clients
that come at once are not yet a crowd."""


class Socket(Protocol):
    """What a lobby needs of a transport."""

    def abort(self) -> None:
        """Close at once."""
        ...


class Lobby:
    """The guests of one server.

    Args:
        max_guests: of all addresses together.
        max_per_address: of those that have been here for longer than `GRACE_S`.
    """

    def __init__(
        self, *, max_guests: int, max_per_address: int, clock: Clock, metrics: Metrics
    ) -> None:
        self._max_guests = max_guests
        self._max_per_address = max_per_address
        self.clock = clock
        """The clock of all its sockets."""
        self._metrics = metrics
        self._addresses: dict[Socket, str] = {}
        """Of every open socket."""
        self._guests: dict[str, dict[Socket, float]] = {}
        """By address, the oldest first, with the time since when."""
        self._num_guests = 0

    def enter(self, socket: Socket, host: str) -> None:
        """Take in a socket that was accepted. `host`: the peer's address."""
        self._addresses[socket] = _neighbourhood(host)
        self._seat(socket)

    def leave(self, socket: Socket) -> None:
        """Forget a socket that was closed. Idempotent."""
        self._unseat(socket)
        self._addresses.pop(socket, None)

    def is_guest(self, socket: Socket) -> bool:
        """Whether nothing runs on it for a caller who was let in."""
        return socket in self._guests.get(self._addresses.get(socket, ""), {})

    @contextmanager
    def admitted(self, socket: Socket) -> Iterator[None]:
        """While the block runs, the socket is no guest. For a caller who was let in."""
        self._unseat(socket)
        try:
            yield
        finally:
            if socket in self._addresses:
                self._seat(socket)

    def turn_out(self, socket: Socket, reason: Reason) -> None:
        """Close a socket at once and count why."""
        self.count(reason)
        self.leave(socket)
        socket.abort()

    def count(self, reason: Reason) -> None:
        """Count a socket that a limit closes."""
        self._metrics.sockets_closed.labels(reason=reason).inc()

    def offer(self, socket: Socket) -> dict[str, Any]:
        """The extension of an ASGI scope by which an app admits the socket."""
        return {ADMISSION: partial(self.admitted, socket)}

    def _seat(self, socket: Socket) -> None:
        address = self._addresses[socket]
        seats = self._guests.setdefault(address, {})
        seats[socket] = self.clock.now_s()
        self._num_guests += 1
        if len(seats) > self._max_per_address:
            oldest, since_s = next(iter(seats.items()))
            if since_s < self.clock.now_s() - GRACE_S:
                self.turn_out(oldest, "crowded")
        if self._num_guests > self._max_guests:
            crowd = max(self._guests.values(), key=len)
            self.turn_out(next(iter(crowd)), "crowded")

    def _unseat(self, socket: Socket) -> None:
        address = self._addresses.get(socket)
        if address is None or self._guests.get(address, {}).pop(socket, None) is None:
            return
        self._num_guests -= 1
        if not self._guests[address]:
            del self._guests[address]


def admitted(scope: Mapping[str, Any]) -> AbstractContextManager[None]:
    """While the block runs, the socket of an ASGI scope is no guest."""
    admit = scope.get("extensions", {}).get(ADMISSION)
    if admit is None:  # served by something else than our transport, as in tests
        return nullcontext()
    context: AbstractContextManager[None] = admit()
    return context


def _neighbourhood(host: str) -> str:
    """Addresses that one peer can have as it likes count as one: of IPv6 the /64."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
