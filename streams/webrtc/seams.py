"""All that is used of aiortc and aioice, in one file: ICE, DTLS and SRTP, up to a decrypted packet.

aiortc's own peer connection is not used: it decodes what comes in within this process, waits for a
following frame before it gives one out, and keeps what strangers can make grow without a bound
(docs/adr/0015). Its transports are: `aioice.Connection` (documented), and `aiortc.RTCDtlsTransport`
(documented as a class), of which these are not public: `_handle_rtp_data`, `_handle_rtcp_data`,
`_send_rtp`, `_set_role`, and that it asks of what carries it `role`, `_recv` and `_send`. Of aioice
they are `StunProtocol`, `server_reflexive_candidate`, and the methods of a connection that are
overridden here. A test for each says which one moved.
"""

import asyncio
import ipaddress
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aioice import Candidate, Connection
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import StunProtocol, server_reflexive_candidate
from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport

from onlooker.streams.source_config import WebRtcSection
from onlooker.streams.webrtc.candidates import PeerAddress, PeerPolicy

__all__ = ["DtlsLink", "IcePath", "RTCCertificate"]

MAX_QUEUED = 2048
"""Datagrams that wait to be decrypted: about a second of them at 20 Mbit/s."""

SERVER_S = 2
"""Seconds for which a STUN or TURN server is waited for; an offer is answered no sooner."""

MAX_ADDRESSES = 8
"""Addresses of this machine at which one session listens."""


class IcePath(Connection):
    """One peer's path: our addresses, its addresses, and datagrams between the pair that was
    agreed on. The peer is the one that decides.

    Args:
        listen: addresses of ours; empty: all of this machine's.
        policy: which addresses may be sent to.
        admit: says whether a datagram from the peer is to be taken in.
        refuse: is told of a datagram or an address that is not.
    """

    def __init__(
        self,
        settings: WebRtcSection,
        *,
        listen: Sequence[str],
        policy: PeerPolicy,
        admit: Callable[[bytes], bool],
        refuse: Callable[[str], None],
    ) -> None:
        super().__init__(
            ice_controlling=False,
            stun_server=_server(settings.stun_server),
            turn_server=_server(settings.turn_server),
            turn_username=settings.turn_username or None,
            turn_password=settings.turn_password.get_secret_value() or None,
        )
        self._section, self._listen, self._policy = settings, listen, policy
        self._admit, self._refuse = admit, refuse
        self._peers: set[tuple[str, int]] = set()
        """Addresses from which the peer has shown the password that it was given."""
        self._num_tried = 0

    # ---- ours

    async def get_component_candidates(
        self,
        component: int,
        addresses: list[str],
        timeout: int = 5,  # noqa: ASYNC109 - aioice's
    ) -> list[Candidate]:
        """Open a port at each of our addresses, and ask the servers how they look from outside."""
        found: list[Candidate] = []
        for address in list(self._listen or addresses)[:MAX_ADDRESSES]:
            endpoint = await self._open(address)
            if endpoint is None:
                continue
            self._protocols.append(endpoint)
            found.append(endpoint.local_candidate)
            found += self._announced(endpoint.local_candidate)
        # What is left for the base is the relay.
        others = await asyncio.gather(
            self._reflexive(), super().get_component_candidates(component, [], SERVER_S)
        )
        return [*found, *(candidate for each in others for candidate in each)]

    async def _open(self, address: str) -> StunProtocol | None:
        """A socket at `address`; None when there is no free port, or no such address."""
        loop = asyncio.get_running_loop()
        low, high = self._section.min_port, self._section.max_port
        ports = list(range(low, high + 1)) if low else [0]
        random.shuffle(ports)  # as they are no secret, any source of randomness will do
        for port in ports:
            try:
                transport, endpoint = await loop.create_datagram_endpoint(
                    lambda: _Endpoint(self), local_addr=(address, port)
                )
            except OSError:
                continue
            host, port = transport.get_extra_info("sockname")[:2]
            endpoint.local_candidate = _own_candidate("host", host, port)
            return endpoint
        return None

    def _announced(self, candidate: Candidate) -> list[Candidate]:
        """The candidate again, at the addresses under which peers reach it."""
        version = ipaddress.ip_address(candidate.host).version
        return [
            _own_candidate("host", address, candidate.port)
            for address in self._section.announced_addresses
            if ipaddress.ip_address(address).version == version
        ]

    async def _reflexive(self) -> list[Candidate]:
        if self.stun_server is None:
            return []
        asked = [
            asyncio.ensure_future(server_reflexive_candidate(endpoint, self.stun_server))
            for endpoint in self._protocols
            if ipaddress.ip_address(endpoint.local_candidate.host).version == 4
        ]
        if not asked:
            return []
        done, late = await asyncio.wait(asked, timeout=SERVER_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return [task.result()[0] for task in done if task.exception() is None]

    # ---- the peer's

    async def try_address(self, address: PeerAddress) -> bool:
        """Check an address of the peer's, if it may be sent to; returns whether it may."""
        is_new = self._num_tried < self._section.max_candidates
        may = is_new and any(
            self._policy.allows(address.host, local_host=endpoint.local_candidate.host)
            for endpoint in self._protocols
        )
        if not may:
            self._refuse("candidate")
            return False
        self._num_tried += 1
        await self.add_remote_candidate(
            Candidate(
                foundation=address.foundation,
                component=1,
                transport="udp",
                priority=address.priority,
                host=address.host,
                port=address.port,
                type="srflx" if address.kind == "prflx" else address.kind,
            )
        )
        return True

    def check_incoming(self, message: Any, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """The peer has sent a check from `addr`, with the right password."""
        if addr not in self._peers:
            local_host = protocol.local_candidate.host
            is_full = len(self._peers) >= self._section.max_candidates
            if is_full or not self._policy.allows(addr[0], local_host=local_host):
                self._refuse("candidate")
                return
            self._peers.add(addr)
        super().check_incoming(message, addr, protocol)

    # ---- datagrams

    def knows(self, addr: tuple[str, int]) -> bool:
        """Whether the peer has shown its password from there."""
        return addr in self._peers

    def refuse_stranger(self) -> None:
        """Count a datagram from an address where no peer is known."""
        self._refuse("stranger")

    def data_received(self, data: bytes, component: int) -> None:
        """Queue a datagram that is no STUN, within bounds."""
        if not data or self._queue.qsize() >= MAX_QUEUED:
            self._refuse("too_much")
        elif self._admit(data):
            super().data_received(data, component)


class _Endpoint(StunProtocol):
    """A socket of ours that takes media from known addresses only."""

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        assert isinstance(data, bytes)
        assert isinstance(self.receiver, IcePath)
        is_check = bool(data) and data[0] < 4  # the first two bits of STUN are 0 (RFC 7983)
        if is_check or self.receiver.knows((addr[0], addr[1])):
            super().datagram_received(data, addr)
        else:
            self.receiver.refuse_stranger()


class _Carrier:
    """What `RTCDtlsTransport` needs to be carried by."""

    role = "controlled"

    def __init__(self, path: IcePath) -> None:
        self._recv, self._send = path.recv, path.send


class DtlsLink(RTCDtlsTransport):
    """The encrypted link over a path; gives out decrypted packets.

    Args:
        on_rtp, on_rtcp: take a decrypted packet.
        on_end: is called when nothing more will come over a link that stood.
        is_client: whether we begin the handshake.
    """

    def __init__(
        self,
        path: IcePath,
        certificate: RTCCertificate,
        *,
        on_rtp: Callable[[bytes], Awaitable[None]],
        on_rtcp: Callable[[bytes], None],
        on_end: Callable[[], None],
        is_client: bool,
    ) -> None:
        super().__init__(_Carrier(path), [certificate])  # type: ignore[arg-type]  # all it needs
        self._on_rtp, self._on_rtcp = on_rtp, on_rtcp
        self._set_role("client" if is_client else "server")
        self.on("statechange", lambda: on_end() if self.state == "closed" else None)

    async def open(self, fingerprints: Sequence[tuple[str, str]]) -> bool:
        """Shake hands with whoever has the certificate of these digests; returns whether the link
        stands."""
        digests = [RTCDtlsFingerprint(algorithm, value) for algorithm, value in fingerprints]
        await self.start(RTCDtlsParameters(fingerprints=digests))
        return self.state == "connected"

    async def send(self, data: bytes) -> None:
        """Send an RTCP packet. Raises `ConnectionError` when the link is down."""
        await self._send_rtp(data)

    async def _handle_rtp_data(self, data: bytes, arrival_time_ms: int) -> None:
        await self._on_rtp(data)

    async def _handle_rtcp_data(self, data: bytes) -> None:
        self._on_rtcp(data)


def _own_candidate(kind: str, host: str, port: int) -> Candidate:
    return Candidate(
        foundation=candidate_foundation(kind, "udp", host),
        component=1,
        transport="udp",
        priority=candidate_priority(1, kind),
        host=host,
        port=port,
        type=kind,
    )


def _server(text: str) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    return (host, int(port)) if host else None
