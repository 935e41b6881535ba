"""`FleetRelay`: what passing on takes: who owns a stream, and connections to other servers.

    client ──► this server ──► the stream's owner
               key checked,     key checked again, as everybody's
               a place taken

One hop at most: what was passed on once is answered where it arrives, if need be with 421.
"""

import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlsplit

from onlooker.core.clock import Clock
from onlooker.core.errors import OwnedElsewhere
from onlooker.core.ids import StreamId, tenant_stream_id
from onlooker.core.metrics import Metrics
from onlooker.core.protocol.http import ServerObject
from onlooker.core.trace import SpanKind, TraceParent
from onlooker.core.tracer import Tracer
from onlooker.server.config import ServerSection
from onlooker.server.drainable import Drainable
from onlooker.server.errors import OwnerLost
from onlooker.server.fleet.headers import RELAYED_BY
from onlooker.server.fleet.hop_pool import HopPool
from onlooker.server.fleet.owners import KnownOwners
from onlooker.server.fleet.reach import Reach, Site
from onlooker.streams.fleet_config import FleetSection
from onlooker.streams.ownership import Ownership

MAX_IDLE = 32
"""Connections to other servers that are kept for the next call. At the other end each is a guest of
the lobby while nothing runs on it."""

MAX_SILENT = 1000
"""Servers that fell silent and are remembered; with more, all of them are forgotten."""

IDLE_SHARE = 0.5
"""For how much of ``server.keep_alive_s``, which is the other end's limit too."""

Outcome = Literal["done", "left", "refused", "gone", "unreached", "lost", "slow_reader", "drained"]


class Relayed(Drainable, Protocol):
    """What is being passed on."""

    def lose(self) -> None:
        """End soon, as the owner is lost."""
        ...


class OwnerGone(Exception):
    """The owner's port refuses connections, so nothing of the call has reached it."""


@dataclass(frozen=True, slots=True)
class RelayTrace:
    """The trace of one relay under way."""

    place: TraceParent
    """The relay's own place, which the owner is told."""
    above: TraceParent | None
    """That which the client brought."""
    begun_s: float


class OwnerUnreached(OwnerLost):
    """The owner takes no connection in time: nothing of the call has reached it, but it may be
    there, and its leases have to run out."""


class FleetRelay:
    """Passes on what is about streams of other servers. Made once for a server of a fleet.

    Args:
        name: this server's name, which the owners are told.
        reach: which servers can be connected to.
        trust: whose certificates are believed where an owner's address is https.
        running: where calls and connections under way are listed, so that a drain ends them.
        tracer: records relays; None where there are no traces.
    """

    def __init__(
        self,
        ownership: Ownership,
        *,
        reach: Reach,
        name: str,
        fleet: FleetSection,
        server: ServerSection,
        trust: ssl.SSLContext,
        clock: Clock,
        metrics: Metrics,
        running: set[Drainable],
        tracer: Tracer | None = None,
    ) -> None:
        self.name, self.fleet, self.server = name, fleet, server
        self.reach, self.trust = reach, trust
        self.metrics = metrics
        self._tracer = tracer
        self._ownership = ownership
        self._owners = KnownOwners(clock)
        self._running = running
        self._relayed: dict[Relayed, tuple[str, RelayTrace | None]] = {}
        """What is being passed on, to which server, and its trace."""
        self._heard_of: frozenset[str] = frozenset()
        self._silent: set[str] = set()
        """Servers that were heard of once, and are not any more."""
        self.hops = HopPool(
            reach,
            trust=trust,
            silence_s=fleet.relay_timeout_s,
            max_idle=MAX_IDLE,
            idle_s=server.keep_alive_s * IDLE_SHARE,
        )

    async def check_elsewhere(self, stream_id: StreamId) -> bool:
        """Return unless another server owns a stream; True where its last owner left it for any
        server to go on with.

        Raises: what `Ownership.check_elsewhere` does.
        """
        self._owners.check(stream_id)
        try:
            return await self._ownership.check_elsewhere(stream_id)
        except OwnedElsewhere as owner:
            self._owners.note(stream_id, owner)
            raise

    def doubt(self, owner: OwnedElsewhere) -> None:
        """A server turned out not to be a stream's owner, or not to be there: ask Redis again."""
        self._owners.forget(tenant_stream_id(*owner.stream))

    async def is_gone(self, owner: OwnedElsewhere) -> bool:
        """Whether the owner of a stream has ended, so that nobody need wait for its lease."""
        return await self._ownership.is_gone(owner)

    def hear(self, servers: Sequence[ServerObject]) -> None:
        """Take what all servers have just said of themselves. What is passed on to one that was
        there and is silent now is given up: it may hang, and would be waited for in vain."""
        names = frozenset(one.name for one in servers)
        silent, self._heard_of = self._heard_of - names, names
        self._silent = (self._silent | silent) - names
        if len(self._silent) > MAX_SILENT:
            self._silent.clear()
        for relayed, (server, _) in list(self._relayed.items()):
            if server in silent:
                relayed.lose()

    async def check_heard(self, owner: OwnedElsewhere) -> None:
        """Return unless a server has fallen silent.

        Raises:
            OwnerGone: its port refuses connections.
            OwnerLost: it may hang, or its machine be cut off: its leases have to run out.
        """
        if owner.server not in self._silent:
            return
        self.doubt(owner)
        if await self.is_gone(owner):
            raise OwnerGone(owner.server)
        raise OwnerLost(
            f"nothing is heard of the server '{owner.server}', which has the stream: try again; "
            "another server takes the stream over soon",
            retry_after_s=1.0,
        )

    def may_pass_on(self, headers: Mapping[str, str], owner: OwnedElsewhere) -> bool:
        """Whether a request with these headers may be passed on to the owner of its stream."""
        return self.fleet.relay and bool(owner.url) and not self.was_passed_on(headers)

    def was_passed_on(self, headers: Mapping[str, str]) -> bool:
        """Whether a request with these headers says that it was passed on before."""
        return RELAYED_BY.decode() in headers

    def traced(self, headers: Iterable[tuple[bytes, bytes]]) -> RelayTrace | None:
        """The trace of what is about to be passed on for a client with these headers; None where
        the client's own word is to be passed on as it is, if there is one."""
        if self._tracer is None:
            return None
        above = TraceParent.brought(headers)
        place = self._tracer.begin(above)
        if above is None and not place.is_sampled:
            return None  # the owner decides for itself
        return RelayTrace(place, above, self._tracer.clock.now_s())

    def begin(self, what: Relayed, server: str, trace: RelayTrace | None) -> None:
        """Something is being passed on to a server, until `end`."""
        self._running.add(what)
        self._relayed[what] = server, trace
        self.metrics.relays.inc()

    def passed_on(self) -> list[Relayed]:
        """What is being passed on now."""
        return list(self._relayed)

    def end(self, what: Relayed, kind: Literal["http", "websocket"], outcome: Outcome) -> None:
        """Nothing is passed on any more; only the first call counts."""
        if what in self._running:
            self._running.discard(what)
            server, trace = self._relayed.pop(what)
            if self._tracer is not None and trace is not None:
                self._tracer.record(
                    "relay",
                    trace.place,
                    above=trace.above,
                    start_s=trace.begun_s,
                    kind=SpanKind.CLIENT,
                    error=outcome if outcome in ("gone", "lost") else None,
                    door=kind,
                    owner=server,
                    outcome=outcome,
                )
            self.metrics.relays.dec()
            self.metrics.relays_total.labels(kind, outcome).inc()

    def unreached(self, owner: OwnedElsewhere) -> OwnerUnreached:
        """What is told of a server that takes no connection in time."""
        self.doubt(owner)
        return OwnerUnreached(
            f"the server '{owner.server}', which has the stream, cannot be connected to: try "
            "again; another server takes the stream over soon",
            retry_after_s=1.0,
        )

    async def close(self) -> None:
        """Close the connections to other servers."""
        self.hops.close()


@dataclass(frozen=True, slots=True)
class HopTarget:
    """Where a request goes at another server."""

    site: Site
    path: bytes
    """With the query."""
    host: bytes
    """What the header `Host` says."""


def target_of(base: str, scope: Mapping[str, object]) -> HopTarget:
    """Where a request goes at the server that is reached at `base`.

    `scope` is the request's ASGI scope. The path under which a proxy shows this server
    (``root_path``) is taken off; the owner has its own in `base`, if any.
    """
    parts = urlsplit(base)
    raw_path, root, query = scope["raw_path"], scope.get("root_path", ""), scope["query_string"]
    assert isinstance(raw_path, bytes)
    assert isinstance(root, str)
    assert isinstance(query, bytes)
    path = parts.path.rstrip("/").encode() + raw_path.removeprefix(root.encode())
    return HopTarget(
        Site.of(base),
        path + (b"?" + query if query else b""),
        parts.netloc.rpartition("@")[2].encode(),
    )
