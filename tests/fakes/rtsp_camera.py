"""A small RTSP camera: real RTSP and RTP, interleaved on its TCP connection, H.264 inside."""

import base64
import socket
import struct
import threading

from tests.fakes.waiting import WAIT_S

NAL_START = b"\x00\x00\x01"


def split_nals(chunk: bytes) -> list[bytes]:
    """The NAL units of an Annex B message."""
    return [part.rstrip(b"\x00") for part in chunk.split(NAL_START) if part.rstrip(b"\x00")]


class RtspCamera:
    """Serves `chunks` (H.264 messages, 10 a second) to each client, then says goodbye.

    `redirect_to`: answers DESCRIBE with a redirect. `status`: answers DESCRIBE with this error.
    `greeting`: sends these bytes instead of speaking RTSP.
    """

    def __init__(
        self,
        chunks: list[bytes],
        *,
        redirect_to: str | None = None,
        status: str | None = None,
        greeting: bytes | None = None,
    ) -> None:
        self._chunks, self._redirect_to, self._status = chunks, redirect_to, status
        self._greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.num_connections = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/door"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

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
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                data = connection.recv(65536)
                if not data:
                    return
                buffer += data
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            method, url = head.decode().split()[:2]
            number = next(
                line.split(":")[1].strip()
                for line in head.decode().splitlines()
                if line.lower().startswith("cseq")
            )
            connection.sendall(self._reply(method, url, number))
            if method == "PLAY":
                self._send_video(connection)
                return

    def _reply(self, method: str, url: str, number: str) -> bytes:
        status, extra, body = "200 OK", "", ""
        if method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif method == "DESCRIBE" and self._redirect_to:
            status, extra = "302 Moved", f"Location: {self._redirect_to}\r\n"
        elif method == "DESCRIBE" and self._status:
            status = self._status
        elif method == "DESCRIBE":
            body = self._description()
            extra = f"Content-Base: {url}/\r\nContent-Type: application/sdp\r\n"
        elif method == "SETUP":
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        elif method == "PLAY":
            extra = "Session: 1\r\n"
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        return f"RTSP/1.0 {status}\r\nCSeq: {number}\r\n{extra}{length}\r\n{body}".encode()

    def _description(self) -> str:
        sets = [nal for nal in split_nals(self._chunks[0]) if nal[0] & 0x1F in (7, 8)]
        sprop = ",".join(base64.b64encode(nal).decode() for nal in sets)
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=door\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
            f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\r\na=control:track1\r\n"
        )

    def _send_video(self, connection: socket.socket) -> None:
        number = 0
        for index, chunk in enumerate(self._chunks):
            nals = split_nals(chunk)
            for nal in nals:
                marker = 0x80 if nal is nals[-1] else 0
                header = struct.pack(">BBHII", 0x80, 96 | marker, number, index * 9000, 7)
                packet = header + nal
                connection.sendall(b"$\x00" + struct.pack(">H", len(packet)) + packet)
                number += 1
