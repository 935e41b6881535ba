"""ICE candidates: the addresses that a peer says it can be reached at, and which of them are tried.

They are a stranger's words. A server that sent to each of them would probe networks on the
stranger's behalf, so only UDP addresses (never names, which would have to be looked up) outside of
the refused networks are tried, and no more than a set number. Before such an address has answered
with the password that the answer gave to the peer, it gets nothing but ICE's own checks: a few
packets of a hundred bytes.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

_TYPES = ("host", "srflx", "prflx", "relay")


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """A candidate that can be tried."""

    foundation: str
    priority: int
    host: str
    """An IP address."""
    port: int
    kind: str
    """How the peer knows of it: ``host``, ``srflx``, ``prflx`` or ``relay``."""


def parse_candidate(text: str) -> PeerAddress | None:
    """The candidate of an SDP attribute (``candidate:…``); None where it is malformed, of another
    transport than UDP, or a name."""
    words = text.removeprefix("candidate:").split()
    if len(words) < 8 or words[2].lower() != "udp" or words[1] != "1" or words[6] != "typ":
        return None
    try:
        host = str(ipaddress.ip_address(words[4]))
        priority, port = int(words[3]), int(words[5])
    except ValueError:
        return None
    if not (0 < port < 65_536 and 0 <= priority < 1 << 32) or words[7] not in _TYPES:
        return None
    return PeerAddress(words[0][:32], priority, host, port, words[7])


class PeerPolicy:
    """Which addresses of peers may be sent to."""

    def __init__(self, refused: Sequence[str]) -> None:
        self._refused = [ipaddress.ip_network(text) for text in refused]

    def allows(self, host: str, *, local_host: str | None = None) -> bool:
        """Whether the address `host` may be sent to. `local_host`: the address of ours from where;
        None where any of them will do."""
        address = ipaddress.ip_address(host)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_loopback and local_host is not None:
            return ipaddress.ip_address(local_host).is_loopback
        return not any(address in network for network in self._refused)
