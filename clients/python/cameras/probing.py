"""Asks the network who is a camera, and takes the answers (WS-Discovery, over multicast)."""

import asyncio
import contextlib
import socket
import struct
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element

from onlooker.clients.python.cameras.found import CameraTrouble, plain_text
from onlooker.clients.python.cameras.soap import body_of, envelope, find_all, text_of
from onlooker.core.clock import Clock
from onlooker.core.errors import InvalidRequest

GROUP, PORT = "239.255.255.250", 3702
"""Where the answerers listen."""

MAX_ANSWERS = 1000
"""Answers that wait to be looked at; more are passed over."""

ROUND_S = 0.6
"""Between two rounds of asking: datagrams get lost, and cameras sleep."""

_ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
_DISCOVERY = "http://schemas.xmlsoap.org/ws/2005/04/discovery"
_NETWORK = "http://www.onvif.org/ver10/network/wsdl"
_SCOPES = "onvif://www.onvif.org/"


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """A camera that has answered."""

    host: str
    """The address from which it answered."""
    service_url: str
    """Where it speaks ONVIF, on that host."""
    name: str
    """What it calls itself; may be empty."""
    notes: tuple[str, ...] = ()


class CameraProbe:
    """One search of the network.

    Args:
        interface: the network's name here (``eth0``), or this machine's address in it; None: all
            but the loopback.
        port: of the group; other than the standard's in tests.
    """

    def __init__(self, *, interface: str | None, clock: Clock, port: int = PORT) -> None:
        self._clock, self._port = clock, port
        self._ways = _ways(interface)
        self.num_sent = 0
        """Questions that could be sent."""

    async def answers(self, listen_s: float) -> AsyncIterator[ProbeAnswer]:
        """Ask, and give each camera that answers within `listen_s` seconds once."""
        loop, told = asyncio.get_running_loop(), _Answers()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
            ear.setblocking(False)
            ear.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
            ear.bind(("", 0))
            transport, _ = await loop.create_datagram_endpoint(lambda: told, sock=ear)
            asking = asyncio.create_task(self._ask(ear, listen_s))
            until_s, seen = self._clock.now_s() + listen_s, set[str]()
            try:
                while (left_s := until_s - self._clock.now_s()) > 0:
                    for answer in _answers_in(*await asyncio.wait_for(told.queue.get(), left_s)):
                        if answer.service_url not in seen:
                            seen.add(answer.service_url)
                            yield answer
            except TimeoutError:
                return
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                transport.close()

    async def _ask(self, ear: socket.socket, listen_s: float) -> None:
        until_s = self._clock.now_s() + listen_s / 2
        while True:
            for types in ("<d:Types>n:NetworkVideoTransmitter</d:Types>", ""):
                for way in self._ways:
                    with contextlib.suppress(OSError):  # this network has no multicast
                        if way:
                            ear.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, way)
                        ear.sendto(_probe(types), (GROUP, self._port))
                        self.num_sent += 1
            if self._clock.now_s() + ROUND_S > until_s:
                return
            await self._clock.sleep(ROUND_S)


class _Answers(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue(MAX_ANSWERS)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self.queue.put_nowait((data, addr[0]))


def networks() -> list[str]:
    """The names of this machine's networks."""
    return [name for _, name in socket.if_nameindex()]


def _ways(interface: str | None) -> list[bytes]:
    """What makes a multicast leave by which network; empty bytes: by the one of the default route.

    Raises:
        InvalidRequest: there is no such network.
    """
    if interface is None:
        return [_by_index(number) for number, name in socket.if_nameindex() if name != "lo"] or [
            b""
        ]
    with contextlib.suppress(OSError):
        return [socket.inet_pton(socket.AF_INET, interface)]
    try:
        return [_by_index(socket.if_nametoindex(interface))]
    except OSError as error:
        raise InvalidRequest(
            f"this machine has no network '{plain_text(interface)}': name one of "
            f"{', '.join(networks())}, or this machine's IPv4 address in it"
        ) from error


def _by_index(number: int) -> bytes:
    return struct.pack("@4s4si", bytes(4), bytes(4), number)


def _probe(types: str) -> bytes:
    header = (
        f'<a:MessageID xmlns:a="{_ADDRESSING}">uuid:{uuid.uuid4()}</a:MessageID>'
        f'<a:To xmlns:a="{_ADDRESSING}">urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To>'
        f'<a:Action xmlns:a="{_ADDRESSING}">{_DISCOVERY}/Probe</a:Action>'
    )
    return envelope(
        f'<d:Probe xmlns:d="{_DISCOVERY}" xmlns:n="{_NETWORK}">{types}</d:Probe>', header=header
    )


def _answers_in(data: bytes, host: str) -> list[ProbeAnswer]:
    """The cameras that a datagram tells of; none where it tells of others, or of nothing."""
    try:
        matches = find_all(body_of(data), "ProbeMatch")
    except CameraTrouble:
        return []
    answers = (_answer(match, host) for match in matches[:10])
    return [answer for answer in answers if answer is not None]


def _answer(match: Element, host: str) -> ProbeAnswer | None:
    scopes = text_of(match, "Scopes").split()
    is_camera = "NetworkVideoTransmitter" in text_of(match, "Types") or any(
        scope.startswith(_SCOPES) for scope in scopes
    )
    named = [url for url in text_of(match, "XAddrs").split() if _is_web(url)]
    if not is_camera or not named:
        return None
    own = [url for url in named if urlsplit(url).hostname == host]
    name = next((s for s in scopes if s.startswith(f"{_SCOPES}name/")), "")
    name = plain_text(unquote(name.removeprefix(f"{_SCOPES}name/")))
    if own:
        return ProbeAnswer(host, min(own, key=lambda url: url.startswith("https")), name)
    other = min(named, key=lambda url: ":" in (urlsplit(url).hostname or ""))  # IPv4, as we asked
    note = (
        f"it says that it is at {plain_text(urlsplit(other).netloc)}, and answered from {host}: "
        "it was asked there"
    )
    return ProbeAnswer(host, _moved_to(other, host), name, (note,))


def _moved_to(url: str, host: str) -> str:
    """The same place on another host."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
