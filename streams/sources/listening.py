"""Sources that are waited for: who sends decides, and the operator decides where and from whom.

Nothing is listened to unless `streams.sources.listen_on` names the address. What comes from a
sender that may not be pulled from is dropped, and so is all that does not come from the first
sender that may.
"""

import contextlib
import ipaddress
import socket
import struct
import threading
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from onlooker.core.address import AddressPolicy, IpAddress
from onlooker.core.errors import Forbidden, InvalidRequest
from onlooker.streams.source_config import SourcesSection
from onlooker.streams.sources.spec import SourceLost
from onlooker.streams.sources.way import Access

ANYWHERE = "0.0.0.0"  # noqa: S104 - only where the operator allows it
"""What stands for all addresses of this machine."""

_POLL_S = 0.2
"""How soon a socket that is waited at notices that it was closed."""

_FIRST_SHARE = 0.8
"""How much of the time to open a source is waited for its first datagram, so that silence is told
as what it is."""

_BUFFER_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where datagrams are waited for."""

    address: IpAddress
    """An address of this machine, that of all of them, or a multicast group."""
    port: int
    interface: IpAddress | None = None
    """The address of this machine by which a group is joined; None leaves it to the system."""

    @classmethod
    def of(cls, url: str, settings: SourcesSection) -> "ListenAddress":
        """Take an address apart, such as ``udp://0.0.0.0:5000`` or
        ``udp://@239.1.2.3:5000?localaddr=192.0.2.7``.

        Raises:
            InvalidRequest: it is malformed, or names no port.
            Forbidden: the operator does not allow listening there.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
            address = ipaddress.ip_address(parts.hostname or ANYWHERE)
            local = parse_qs(parts.query).get("localaddr")
            interface = ipaddress.ip_address(local[0]) if local else None
        except ValueError as error:
            raise InvalidRequest(
                "where to listen is an IP address of this server or a multicast group, as in "
                f"{url.partition(':')[0]}://0.0.0.0:5000: {error}",
                param="url",
            ) from error
        if port is None:
            raise InvalidRequest(
                "the source's URL names no port to listen at, as in udp://0.0.0.0:5000", param="url"
            )
        allowed = [ipaddress.ip_network(entry, strict=False) for entry in settings.listen_on]
        is_allowed = any(address in network for network in allowed)
        if not is_allowed or not settings.listen_min_port <= port <= settings.listen_max_port:
            raise Forbidden(
                f"this server may not listen at {parts.netloc}: its operator allows addresses and "
                "ports (settings streams.sources.listen_on, listen_min_port and listen_max_port)",
                param="url",
            )
        return cls(address, port, interface)


class Datagrams:
    """A port that is listened at, and the one sender who is heard there. Read on one thread."""

    def __init__(self, where: ListenAddress, access: Access) -> None:
        """Open the port.

        Raises:
            SourceLost: it cannot be opened, as when another source has it.
        """
        self._policy, self.clock = access.policy, access.clock
        self._budget, self._metrics = access.budget, access.metrics
        settings = access.settings
        self._timeout_s = settings.read_timeout_s
        self._first_timeout_s = _FIRST_SHARE * min(settings.read_timeout_s, settings.open_timeout_s)
        self._where = where
        self._ended = threading.Event()
        self._sender: tuple[str, int] | None = None
        self.num_refused = 0
        """Datagrams from senders that may not be pulled from."""
        family = socket.AF_INET6 if where.address.version == 6 else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._open()
        except OSError as error:
            self._socket.close()
            raise SourceLost(
                f"cannot listen at {where.address} port {where.port}: "
                f"{error.strerror or error}. Another source or program may have the port"
            ) from error

    def receive(self) -> bytes:
        """The next datagram from the sender; empty when the port was closed.

        Raises:
            SourceLost: nothing came for `streams.sources.read_timeout_s`.
            TooSlow: too little came.
        """
        begun_s = self.clock.now_s()
        while not self.is_closed:
            data, waited_s = self.poll(_POLL_S), self.clock.now_s() - begun_s
            if data:
                self._budget.receive(len(data), waited_s)
                return data
            limit_s = self.limit_s
            if waited_s >= limit_s:
                raise SourceLost(self.silence(limit_s))
        return b""

    def poll(self, timeout_s: float) -> bytes:
        """A datagram from the sender; empty where none came within `timeout_s`, or the port was
        closed."""
        try:
            self._socket.settimeout(timeout_s)
            data, sender = self._socket.recvfrom(65536)
        except TimeoutError:
            return b""
        except OSError:
            self.close()
            return b""
        return data if self._is_heard((sender[0], sender[1])) else b""

    def send(self, data: bytes) -> None:
        """Answer the sender, where there is one yet."""
        if self._sender is not None:
            with contextlib.suppress(OSError):  # as lost as any other datagram may be
                self._socket.sendto(data, self._sender)

    @property
    def is_closed(self) -> bool:
        return self._ended.is_set()

    @property
    def limit_s(self) -> float:
        """How long silence may last now."""
        return self._first_timeout_s if self._sender is None else self._timeout_s

    def close(self) -> None:
        """Stop listening. From any thread, any number of times."""
        self._ended.set()
        self._socket.close()

    def _is_heard(self, sender: tuple[str, int]) -> bool:
        if self._sender is None and may_send(self._policy, sender[0]):
            self._sender = sender
        if self._sender is None:
            self.num_refused += 1
            self._metrics.source_packets_dropped.labels(why="refused").inc()
        return sender == self._sender

    def silence(self, limit_s: float) -> str:
        """Why nothing may have come for so long."""
        where = f"{self._where.address} port {self._where.port}"
        why = f"nothing came to {where} for {limit_s:g} s"
        if self.num_refused and self._sender is None:
            return (
                f"{why} but from senders that are not allowed (settings "
                "streams.sources.allow_hosts and allow_private)"
            )
        return f"{why}: check that the sender runs and sends to this server and port"

    def _open(self) -> None:
        where = self._where
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        if where.address.is_multicast:
            # Others on this machine may listen to the same group.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((str(where.address), where.port))
        if where.address.is_multicast:
            self._join(where.address)

    def _join(self, group: IpAddress) -> None:
        if isinstance(group, ipaddress.IPv4Address):
            interface = self._where.interface
            by = bytes(4) if interface is None else interface.packed
            membership = struct.pack("4s4s", group.packed, by)
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        else:
            membership = struct.pack("16sI", group.packed, 0)
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)


def may_send(policy: AddressPolicy, address: str) -> bool:
    """Whether what comes from this address may be taken in."""
    return policy.allows(address, ipaddress.ip_address(address.partition("%")[0]))
