"""An ONVIF camera on loopback: it answers who searches by multicast, and speaks SOAP over HTTP."""

import base64
import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.etree import ElementTree

from tests.fakes import digests

GROUP = "239.255.255.250"
SERVICE = "/onvif/device_service"

_DEVICE = "http://www.onvif.org/ver10/device/wsdl"
_MEDIA = "http://www.onvif.org/ver10/media/wsdl"
_MEDIA2 = "http://www.onvif.org/ver20/media/wsdl"
_SOAP = "http://www.w3.org/2003/05/soap-envelope"


@dataclass
class OnvifFake:
    """How the camera behaves, and what it was asked."""

    login: tuple[str, str] | None = None
    proof: str = "soap"
    """How the login is to be proven: ``soap``, ``http``, or ``basic``, which tells it."""
    ahead_s: float = 0.0
    """By how much its clock is ahead."""
    media: str = _MEDIA
    """The media service that it has; empty for none."""
    knows_services: bool = True
    """Whether it lists them in the newer way."""
    media_host: str | None = None
    """The host that it names for its media service; None: itself."""
    stream_host: str | None = None
    named_host: str | None = None
    """The host that it names for itself when it is searched for."""
    num_profiles: int = 2
    reply: bytes | None = None
    """What it answers everything with, in place of SOAP."""
    drips: bool = False
    """Whether a byte of its reply comes now and then, without end."""
    types: str = "dn:NetworkVideoTransmitter"
    scopes: str = "onvif://www.onvif.org/name/Front%20door onvif://www.onvif.org/hardware/X"
    asked: list[str] = field(default_factory=list)
    proofs: list[str] = field(default_factory=list)
    """What each call showed of a login: ``soap``, ``http``, or nothing."""
    stopped: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def service_url(self) -> str:
        return f"http://127.0.0.1:{self.port}{SERVICE}"

    # ---- SOAP

    def answer(self, message: bytes, authorization: str | None) -> tuple[int, bytes]:
        root = ElementTree.fromstring(message)
        body = root.find(f"{{{_SOAP}}}Body")
        assert body is not None
        call = body[0].tag.rpartition("}")[2]
        self.asked.append(call)
        shown = self._shown(root, authorization)
        self.proofs.append(shown)
        if call != "GetSystemDateAndTime" and self.login is not None and shown != self.proof:
            return (400, _fault("ter:NotAuthorized")) if self.proof == "soap" else (401, b"")
        return self._answers(call, body[0])

    def _answers(self, call: str, ask: ElementTree.Element) -> tuple[int, bytes]:
        media = f"http://{self.media_host or '127.0.0.1'}:{self.port}/onvif/media"
        match call:
            case "GetSystemDateAndTime":
                now = datetime.now(UTC) + timedelta(seconds=self.ahead_s)
                return 200, _soap(
                    "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:UTCDateTime>"
                    f"<tt:Time><tt:Hour>{now.hour}</tt:Hour><tt:Minute>{now.minute}</tt:Minute>"
                    f"<tt:Second>{now.second}</tt:Second></tt:Time><tt:Date><tt:Year>{now.year}"
                    f"</tt:Year><tt:Month>{now.month}</tt:Month><tt:Day>{now.day}</tt:Day></tt:Date>"
                    "</tt:UTCDateTime></tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>"
                )
            case "GetServices" if self.knows_services:
                listed = [(_DEVICE, self.service_url)] + (
                    [(self.media, media)] if self.media else []
                )
                return 200, _soap(
                    "".join(
                        f"<tds:Service><tds:Namespace>{name}</tds:Namespace><tds:XAddr>{url}"
                        "</tds:XAddr></tds:Service>"
                        for name, url in listed
                    )
                )
            case "GetCapabilities":
                inside = f"<tt:Media><tt:XAddr>{media}</tt:XAddr></tt:Media>" if self.media else ""
                return 200, _soap(f"<tds:Capabilities>{inside}</tds:Capabilities>")
            case "GetDeviceInformation":
                return 200, _soap(
                    "<tds:Manufacturer>ACME\x1b[31m</tds:Manufacturer><tds:Model>IPC-1</tds:Model>"
                    .replace("\x1b", "&#9;")
                )  # fmt: skip
            case "GetProfiles":
                return 200, _soap("".join(self._profile(n) for n in range(self.num_profiles)))
            case "GetStreamUri":
                token = ask.findtext(f"{{{self.media}}}ProfileToken")
                host = self.stream_host or "127.0.0.1"
                # The first ampersand as it is, as careless cameras write it.
                url = f"rtsp://{host}:554/live?profile={token}&amp;x=1"
                return 200, _soap(f"<trt:MediaUri><tt:Uri>{url}</tt:Uri></trt:MediaUri>")
        return 500, _fault("ter:ActionNotSupported")

    def _profile(self, number: int) -> str:
        kind = "VideoEncoder" if self.media == _MEDIA2 else "VideoEncoderConfiguration"
        return (
            f'<trt:Profiles token="p&amp;{number}"><tt:Name>{("main", "sub")[number % 2]}</tt:Name>'
            f"<tt:{kind}><tt:Name>e</tt:Name><tt:Encoding>H264</tt:Encoding><tt:Resolution>"
            "<tt:Width>1920</tt:Width><tt:Height>1080</tt:Height></tt:Resolution>"
            f"</tt:{kind}></trt:Profiles>"
        )

    def _shown(self, root: ElementTree.Element, authorization: str | None) -> str:
        if self.login is None:
            return ""
        if digests.is_right(authorization, method="POST", path="", login=self.login):
            return "http"
        parts = {one.tag.rpartition("}")[2]: one.text or "" for one in root.iter()}
        if "UsernameToken" not in parts or parts["Username"] != self.login[0]:
            return ""
        created = datetime.strptime(parts["Created"], "%Y-%m-%dT%H:%M:%S%z")
        age = datetime.now(UTC) + timedelta(seconds=self.ahead_s) - created
        right = hashlib.sha1(
            base64.b64decode(parts["Nonce"]) + parts["Created"].encode() + self.login[1].encode()
        ).digest()
        is_right = base64.b64encode(right).decode() == parts["Password"]
        return "soap" if is_right and abs(age.total_seconds()) < 10 else ""

    # ---- being searched for

    def listen(self, ear: socket.socket) -> None:
        """Answer whoever searches, until stopped."""
        while not self.stopped.is_set():
            with suppress(OSError, ElementTree.ParseError):
                data, sender = ear.recvfrom(65536)
                asked = ElementTree.fromstring(data)
                kinds = [one.text for one in asked.iter() if one.tag.endswith("}Types")]
                if not kinds or kinds == ["n:NetworkVideoTransmitter"]:
                    ear.sendto(self._match(), sender)

    def _match(self) -> bytes:
        url = f"http://{self.named_host or '127.0.0.1'}:{self.port}{SERVICE}"
        return _soap(
            "<d:ProbeMatches><d:ProbeMatch>"
            f"<d:Types>{self.types}</d:Types><d:Scopes>{self.scopes}</d:Scopes>"
            f"<d:XAddrs>http://[fe80::1]{SERVICE} {url}</d:XAddrs>"
            "</d:ProbeMatch></d:ProbeMatches>"
        )


def _soap(body: str) -> bytes:
    return (
        f'<?xml version="1.0"?><s:Envelope xmlns:s="{_SOAP}" xmlns:tds="{_DEVICE}" '
        f'xmlns:trt="{_MEDIA}" xmlns:tt="http://www.onvif.org/ver10/schema" '
        'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" '
        'xmlns:dn="http://www.onvif.org/ver10/network/wsdl">'
        f"<s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def _fault(code: str) -> bytes:
    return _soap(
        "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>"
        f"{code}</s:Value></s:Subcode></s:Code><s:Reason><s:Text>no</s:Text></s:Reason></s:Fault>"
    )


@contextmanager
def onvif_camera(*, group_port: int | None = None, **behaviour: Any) -> Iterator[OnvifFake]:
    """A camera that runs until the block ends. `group_port`: where it listens for who searches."""
    camera = OnvifFake(**behaviour)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = self.rfile.read(int(self.headers["Content-Length"]))
            status, reply = camera.answer(message, self.headers.get("Authorization"))
            reply = reply if camera.reply is None else camera.reply
            self.send_response(status)
            if status == 401:
                basic = 'Basic realm="door"'
                challenge = basic if camera.proof == "basic" else digests.CHALLENGE
                self.send_header("WWW-Authenticate", challenge)
            self.send_header("Content-Length", str(len(reply) + 10**6 * camera.drips))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(reply)
                while camera.drips and not camera.stopped.wait(0.05):
                    self.wfile.write(b" ")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    camera.port = server.server_port
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)]
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if group_port is not None:
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ear.bind(("", group_port))
        membership = struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton("127.0.0.1"))
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        ear.settimeout(0.05)
        threads.append(threading.Thread(target=camera.listen, args=(ear,), daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield camera
    finally:
        camera.stopped.set()
        server.shutdown()
        server.server_close()
        for thread in threads:
            thread.join(5)
        ear.close()
