"""RTP by UDP from a camera, handed to FFmpeg as if it came over the RTSP connection.

FFmpeg believes that it speaks RTSP over TCP. Here its wish is turned into one for UDP, the ports
are opened on the address that talks to the camera, and only what comes from the camera's own
address is taken in.
"""

import contextlib
import re
import selectors
import socket
import threading
from dataclasses import dataclass

from onlooker.core.network import TooSlow
from onlooker.streams.sources.relay import RelayedConnection
from onlooker.streams.sources.rtsp_messages import (
    ReplyFilter,
    RtspMessage,
    RtspPacket,
    RtspSplitter,
)
from onlooker.streams.sources.spec import SourceBroken, SourceLost, SourceSlow
from onlooker.streams.sources.way import Access

MAX_TRACKS = 8
"""Tracks of one camera that are opened; FFmpeg asks for its video only."""

_BUFFER_BYTES = 4 << 20
_POLL_S = 0.2
_PORT_TRIES = 50
_TRANSPORT = re.compile(rb"(?im)^transport:[^\r\n]*\r\n")
_CHANNEL = re.compile(rb"(?i)interleaved=(\d{1,3})-")
_SERVER_PORTS = re.compile(rb"(?i)server_port=(\d{1,5})(?:-(\d{1,5}))?")
_PUNCHES = (b"\x80" + bytes(11), b"\x80\xc9\x00\x01" + bytes(4))
"""An empty RTP and an empty RTCP packet, which open a way back through address translation."""


@dataclass(slots=True)
class _Track:
    """Two ports of ours, for RTP and RTCP of one track."""

    channel: int
    sockets: tuple[socket.socket, socket.socket]
    server_ports: tuple[int, int] | None = None

    @property
    def port(self) -> int:
        port: int = self.sockets[0].getsockname()[1]
        return port


class UdpTranslator:
    """One camera's conversation, in which TCP is said on this side and UDP on the other."""

    is_timed = False

    def __init__(self, link: RelayedConnection, replies: ReplyFilter, access: Access) -> None:
        self._link, self._replies, self._access = link, replies, access
        self._requests, self._answers = RtspSplitter(), RtspSplitter()
        self._peer: str = link.far.getpeername()[0]
        self._tracks: list[_Track] = []
        self._asked: _Track | None = None
        self._selector = selectors.DefaultSelector()
        self._method = b""
        """Of the last request."""
        self._plays, self._ended = threading.Event(), threading.Event()

    def up(self, data: bytes) -> bytes:
        passed = b""
        for item in _split(self._requests, data):
            if isinstance(item, RtspMessage):
                self._method = item.data.partition(b" ")[0]
                is_setup = self._method == b"SETUP"
                passed += self._ask_for_udp(item.data) if is_setup else item.data
            else:
                self._send_control(item.channel, item.payload)
        return passed

    def down(self, data: bytes) -> bytes:
        if not self._replies.passes(data):
            raise SourceBroken(self._replies.refusal or "")
        passed, begins = b"", False
        for item in _split(self._answers, data):
            is_reply = isinstance(item, RtspMessage) and item.status is not None
            if isinstance(item, RtspMessage) and is_reply and self._asked:
                passed += self._answer_tcp(item, self._asked)
                self._asked = None
            else:
                passed += item.data
                begins = begins or (is_reply and self._method == b"PLAY")
        if begins and not self._plays.is_set():
            # FFmpeg drops packets that come before the reply, and would miss the first key frame.
            self._link.send_near(passed)
            self._plays.set()
            return b""
        return passed

    def close(self) -> None:
        self._ended.set()
        if not self._tracks:
            self._selector.close()

    def _ask_for_udp(self, request: bytes) -> bytes:
        channel = _CHANNEL.search(request)
        if channel is None or len(self._tracks) >= MAX_TRACKS:
            raise SourceBroken(f"it has more than {MAX_TRACKS} video tracks")
        track = _Track(int(channel[1]), self._open_ports())
        for connection in track.sockets:
            self._selector.register(connection, selectors.EVENT_READ, track)
        self._tracks.append(track)
        self._asked = track
        if len(self._tracks) == 1:
            threading.Thread(target=self._receive, name="source udp", daemon=True).start()
        wish = f"Transport: RTP/AVP;unicast;client_port={track.port}-{track.port + 1}\r\n"
        return _TRANSPORT.sub(wish.encode(), request, count=1)

    def _answer_tcp(self, reply: RtspMessage, track: _Track) -> bytes:
        line = _TRANSPORT.search(reply.data)
        if reply.status != 200 or line is None:
            return reply.data
        if b"interleaved" in line[0].lower() or b"multicast" in line[0].lower():
            raise SourceBroken("the camera does not send by UDP to one receiver: use transport tcp")
        if (ports := _SERVER_PORTS.search(line[0])) is not None:
            first = int(ports[1])
            track.server_ports = (first, int(ports[2]) if ports[2] else first + 1)
            for punch, connection, port in zip(
                _PUNCHES, track.sockets, track.server_ports, strict=True
            ):
                _send(connection, punch, (self._peer, port))
        ours = f"Transport: RTP/AVP/TCP;unicast;interleaved={track.channel}-{track.channel + 1}\r\n"
        return _TRANSPORT.sub(ours.encode(), reply.data, count=1)

    def _send_control(self, channel: int, payload: bytes) -> None:
        for track in self._tracks:
            if channel == track.channel + 1 and track.server_ports is not None:
                _send(track.sockets[1], payload, (self._peer, track.server_ports[1]))

    def _open_ports(self) -> tuple[socket.socket, socket.socket]:
        """Two neighbouring ports, the first of them even, as RTP has it."""
        address, family = self._link.far.getsockname()[0], self._link.far.family
        for _ in range(_PORT_TRIES):
            first, second = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
            try:
                first.bind((address, 0))
                port: int = first.getsockname()[1]
                if port % 2 == 0:
                    second.bind((address, port + 1))
                    first.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
                    return first, second
            except OSError:
                pass
            first.close()
            second.close()
        raise SourceLost("no two neighbouring UDP ports are free on this machine")

    def _receive(self) -> None:
        clock, budget = self._access.clock, self._access.budget
        limit_s = self._access.settings.read_timeout_s
        while not self._plays.wait(_POLL_S) and not self._ended.is_set():
            pass
        heard_at_s = clock.now_s()
        try:
            while not self._ended.is_set():
                for key, _ in self._selector.select(_POLL_S):
                    connection, track = key.fileobj, key.data
                    assert isinstance(connection, socket.socket)
                    data, sender = connection.recvfrom(65536)
                    if sender[0] != self._peer:
                        continue
                    channel = track.channel + (connection is track.sockets[1])
                    if connection is track.sockets[0]:
                        now_s = clock.now_s()
                        budget.receive(len(data), now_s - heard_at_s)
                        heard_at_s = now_s
                    head = bytes((36, channel)) + len(data).to_bytes(2, "big")
                    self._link.send_near(head + data)
                if clock.now_s() - heard_at_s > limit_s:
                    raise SourceLost(
                        f"nothing came by UDP for {limit_s:g} s (setting "
                        "streams.sources.read_timeout_s): a firewall may be in between; transport "
                        "tcp needs no open ports"
                    )
        except TooSlow as error:
            self._link.end(SourceSlow(f"it is too slow: {error}"))
        except SourceLost as error:
            self._link.end(error)
        except OSError:
            self._link.end()
        finally:
            self._selector.close()
            for track in self._tracks:
                for connection in track.sockets:
                    connection.close()


def _split(splitter: RtspSplitter, data: bytes) -> list[RtspMessage | RtspPacket]:
    try:
        return list(splitter.split(data))
    except ValueError as error:
        raise SourceBroken(str(error)) from error


def _send(connection: socket.socket, data: bytes, address: tuple[str, int]) -> None:
    with contextlib.suppress(OSError):  # as lost as any other datagram may be
        connection.sendto(data, address)
