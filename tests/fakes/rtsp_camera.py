"""A small RTSP camera: real RTSP and RTP, over its TCP connection or by UDP."""

import base64
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import av

from tests.fakes import digests
from tests.fakes.pictures import drawn_frames
from tests.fakes.waiting import WAIT_S

NAL_START = b"\x00\x00\x01"


def split_nals(chunk: bytes) -> list[bytes]:
    """The NAL units of an Annex B message."""
    return [part.rstrip(b"\x00") for part in chunk.split(NAL_START) if part.rstrip(b"\x00")]


@dataclass(frozen=True)
class RtpVideo:
    """A video as RTP packets, and the lines that describe it."""

    packets: list[bytes]
    description: str


def h264_video(chunks: list[bytes]) -> RtpVideo:
    """H.264 messages, 10 a second, with every NAL unit in a packet of its own."""
    packets: list[bytes] = []
    for index, chunk in enumerate(chunks):
        nals = split_nals(chunk)
        for nal in nals:
            marker = 0x80 if nal is nals[-1] else 0
            head = struct.pack(">BBHII", 0x80, 96 | marker, len(packets) & 0xFFFF, index * 9000, 7)
            packets.append(head + nal)
    sets = [nal for nal in split_nals(chunks[0]) if nal[0] & 0x1F in (7, 8)]
    sprop = ",".join(base64.b64encode(nal).decode() for nal in sets)
    return RtpVideo(
        packets,
        "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\r\n",
    )


class _Packets:
    """Takes what FFmpeg's RTP muxer writes: one packet a call."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def write(self, data: bytes) -> int:
        if data[1] != 200:  # no reports of RTCP
            self.packets.append(bytes(data))
        return len(data)


def motion_jpeg_video(num: int) -> RtpVideo:
    """The drawn frames as motion JPEG, 10 a second, as FFmpeg puts it into RTP."""
    written = _Packets()
    with av.open(written, "w", format="rtp", options={"packetsize": "1400"}) as container:
        stream: Any = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuvj420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {
            "huffman": "default", "force_duplicated_matrix": "1",  # as RTP has it
        }  # fmt: skip
        for frame in drawn_frames(num):
            container.mux(stream.encode(frame.reformat(format="yuvj420p")))
        container.mux(stream.encode(None))
    return RtpVideo(written.packets, "m=video 0 RTP/AVP 26\r\n")


class RtspCamera:
    """Serves `chunks` (H.264 messages, 10 a second) or `video` to each client. Over TCP it says
    goodbye at the end; by UDP it falls silent.

    `redirect_to`: answers DESCRIBE with a redirect. `status`: answers DESCRIBE with this error.
    `greeting`: sends these bytes instead of speaking RTSP. `login`: wants it, with Digest.
    `refused`: a transport, ``tcp`` or ``udp``, that it does not do.
    """

    def __init__(
        self,
        chunks: list[bytes] | None = None,
        *,
        video: RtpVideo | None = None,
        redirect_to: str | None = None,
        status: str | None = None,
        greeting: bytes | None = None,
        login: tuple[str, str] | None = None,
        refused: str | None = None,
    ) -> None:
        self._video = video or h264_video(chunks or [])
        self._redirect_to, self._status, self._login = redirect_to, status, login
        self._greeting, self._refused = greeting, refused
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.num_connections = 0
        self._client_port: int | None = None
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/door"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        self._udp.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.num_connections += 1
            with connection:
                connection.settimeout(WAIT_S)
                try:
                    self._talk(connection)
                except OSError:
                    continue

    def _talk(self, connection: socket.socket) -> None:
        if self._greeting is not None:
            connection.sendall(self._greeting)
            connection.recv(65536)
            return
        self._client_port = None
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                data = connection.recv(65536)
                if not data:
                    return
                buffer += data
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            connection.sendall(self._reply(head.decode()))
            if head.startswith(b"PLAY"):
                if self._client_port is None:
                    self._send_video(connection)
                    return
                self._send_by_udp(self._client_port)

    def _reply(self, head: str) -> bytes:
        method, url = head.split()[:2]
        status, extra, body = "200 OK", "", ""
        if method != "OPTIONS" and not self._may(method, head):
            status, extra = "401 Unauthorized", f"WWW-Authenticate: {digests.OLD_CHALLENGE}\r\n"
        elif method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif method == "DESCRIBE" and self._redirect_to:
            status, extra = "302 Moved", f"Location: {self._redirect_to}\r\n"
        elif method == "DESCRIBE" and self._status:
            status = self._status
        elif method == "DESCRIBE":
            body = self._description()
            extra = f"Content-Base: {url}/\r\nContent-Type: application/sdp\r\n"
        elif method == "SETUP":
            status, extra = self._set_up(_field(head, "transport") or "")
        elif method == "PLAY":
            extra = "Session: 1\r\n"
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        number = _field(head, "cseq")
        return f"RTSP/1.0 {status}\r\nCSeq: {number}\r\n{extra}{length}\r\n{body}".encode()

    def _may(self, method: str, head: str) -> bool:
        if self._login is None:
            return True
        path = head.split()[1].partition("://")[2].partition("/")[2]
        header = _field(head, "authorization")
        return digests.is_right(header, method=method, path=path, login=self._login)

    def _set_up(self, wish: str) -> tuple[str, str]:
        ports = re.search(r"client_port=(\d+)", wish)
        if ("udp" if ports else "tcp") == self._refused:
            return "461 Unsupported Transport", ""
        if ports is None:
            return "200 OK", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        self._client_port = int(ports[1])
        port = self._udp.getsockname()[1]
        transport = f"RTP/AVP;unicast;{ports[0]}-{int(ports[1]) + 1};server_port={port}-{port + 1}"
        return "200 OK", f"Transport: {transport}\r\nSession: 1\r\n"

    def _description(self) -> str:
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=door\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
            f"{self._video.description}a=control:track1\r\n"
        )

    def _send_video(self, connection: socket.socket) -> None:
        for packet in self._video.packets:
            connection.sendall(b"$\x00" + struct.pack(">H", len(packet)) + packet)

    def _send_by_udp(self, port: int) -> None:
        for packet in self._video.packets:
            self._udp.sendto(packet, ("127.0.0.1", port))


@contextmanager
def rtsp_camera(*args: Any, **options: Any) -> Iterator[RtspCamera]:
    """A camera that is closed at the end."""
    camera = RtspCamera(*args, **options)
    try:
        yield camera
    finally:
        camera.close()


def _field(head: str, name: str) -> str | None:
    for line in head.splitlines()[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return None
