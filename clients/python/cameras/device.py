"""Asks one camera, in ONVIF, who it is and what its streams' addresses are.

The login is proven by a digest and never told: in SOAP (WS-Security), or in HTTP where the camera
asks for that. It goes to the camera's own address and to no other that it names.
"""

from datetime import UTC, datetime
from urllib.parse import quote, urlsplit
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

import httpx

from onlooker.clients.python.cameras.found import CameraStream, CameraTrouble, plain_text
from onlooker.clients.python.cameras.soap import (
    CameraLogin,
    body_of,
    envelope,
    find,
    find_all,
    number_of,
    text_of,
    username_token,
)
from onlooker.core.clock import Clock

MAX_REPLY_BYTES = 1 << 20
MAX_PROFILES = 16
"""Streams that a camera is asked for."""

_DEVICE = "http://www.onvif.org/ver10/device/wsdl"
_MEDIA = "http://www.onvif.org/ver10/media/wsdl"
_MEDIA2 = "http://www.onvif.org/ver20/media/wsdl"
_SCHEMA = "http://www.onvif.org/ver10/schema"

_WANTS_LOGIN = (
    "it wants a login: give --user and --password of one of its ONVIF users (many cameras have "
    "users of their own for ONVIF)"
)
_REFUSES_LOGIN = (
    "it refuses this user name or password: check both (many cameras have users of their own for "
    "ONVIF), and do not try too often, since cameras lock out"
)


class OnvifCamera:
    """One camera at `url`, asked on the event loop. Whoever asks limits how long."""

    def __init__(
        self, http: httpx.AsyncClient, url: str, *, login: CameraLogin | None, clock: Clock
    ) -> None:
        self._http, self._url, self._login, self._clock = http, url, login, clock
        self._host = urlsplit(url).hostname or ""
        self._ahead_s = 0.0
        """By how much the camera's clock is ahead of ours."""
        self._digest: httpx.DigestAuth | None = None
        """Where the camera wants the login in HTTP."""
        self.notes: list[str] = []
        """What is odd about it."""

    async def name(self) -> str:
        """Maker and model; empty where it does not tell."""
        try:
            body = await self._call(self._url, _DEVICE, "<x:GetDeviceInformation/>")
        except CameraTrouble:
            return ""
        return plain_text(f"{text_of(body, 'Manufacturer')} {text_of(body, 'Model')}")

    async def streams(self) -> list[CameraStream]:
        """The streams that it offers, at least one.

        Raises:
            CameraTrouble: it does not say.
        """
        await self._read_clock()
        url, namespace = await self._media_service()
        profiles = find_all(await self._call(url, namespace, "<x:GetProfiles/>"), "Profiles")
        if not profiles:
            raise CameraTrouble("it offers no video: set up a media profile in the camera")
        streams, trouble = [], None
        for profile in profiles[:MAX_PROFILES]:
            try:
                streams.append(await self._stream(url, namespace, profile))
            except CameraTrouble as error:
                trouble = error
        if not streams and trouble is not None:
            raise trouble
        return streams

    async def _read_clock(self) -> None:
        """Learn the camera's time, which its logins are made with; many run off."""
        try:
            body = await self._call(
                self._url, _DEVICE, "<x:GetSystemDateAndTime/>", is_logged_in=False
            )
        except CameraTrouble as error:
            if isinstance(error.__cause__, httpx.TransportError):
                raise
            return  # it does not tell everybody
        utc = find(body, "UTCDateTime")
        names = ("Year", "Month", "Day", "Hour", "Minute", "Second")
        numbers = [number_of(utc, name) for name in names]
        try:
            theirs = datetime(*[int(number or 0) for number in numbers], tzinfo=UTC)  # type: ignore[misc,arg-type]  # checked by what it raises
        except (ValueError, TypeError):
            return
        self._ahead_s = theirs.timestamp() - self._clock.wall_s()

    async def _media_service(self) -> tuple[str, str]:
        """Where to ask about video, and in which version of ONVIF's words."""
        found: dict[str, str] = {}
        try:
            body = await self._call(
                self._url,
                _DEVICE,
                "<x:GetServices><x:IncludeCapability>false</x:IncludeCapability></x:GetServices>",
            )
            for service in find_all(body, "Service"):
                found[text_of(service, "Namespace")] = text_of(service, "XAddr")
        except _Unknown:  # the older way
            body = await self._call(
                self._url,
                _DEVICE,
                "<x:GetCapabilities><x:Category>Media</x:Category></x:GetCapabilities>",
            )
            found[_MEDIA] = text_of(body, "Capabilities", "Media", "XAddr")
        for namespace in (_MEDIA, _MEDIA2):
            if url := found.get(namespace):
                return self._own(url), namespace
        raise CameraTrouble(
            "it has no media service, so it tells no addresses of video: it may be another kind of "
            "device, such as a door or a relay"
        )

    def _own(self, url: str) -> str:
        """The address of a service on the host that is asked, whatever host it names."""
        try:
            parts = urlsplit(url)
            if parts.scheme in ("http", "https") and parts.hostname == self._host:
                return url
            path = parts.path
        except ValueError:
            path, parts = "", urlsplit("")
        mine = urlsplit(self._url)
        self.notes.append(
            f"it names {plain_text(parts.netloc) or 'nothing'} for its media service: it was asked "
            f"at {mine.netloc}, where it answered"
        )
        return f"{mine.scheme}://{mine.netloc}{path or mine.path}"

    async def _stream(self, url: str, namespace: str, profile: Element) -> CameraStream:
        token = f"<x:ProfileToken>{escape(profile.get('token', ''))}</x:ProfileToken>"
        if namespace == _MEDIA2:
            ask = f"<x:GetStreamUri><x:Protocol>RTSP</x:Protocol>{token}</x:GetStreamUri>"
        else:
            ask = (
                f'<x:GetStreamUri><x:StreamSetup xmlns:t="{_SCHEMA}"><t:Stream>RTP-Unicast'
                "</t:Stream><t:Transport><t:Protocol>RTSP</t:Protocol></t:Transport>"
                f"</x:StreamSetup>{token}</x:GetStreamUri>"
            )
        address, note = self._stream_url(text_of(await self._call(url, namespace, ask), "Uri"))
        kind = "VideoEncoder" if namespace == _MEDIA2 else "VideoEncoderConfiguration"
        coded = find(profile, kind)
        return CameraStream(
            name=plain_text(text_of(profile, "Name") or profile.get("token")),
            url=address,
            coding=plain_text(text_of(coded, "Encoding")),
            width=number_of(coded, "Resolution", "Width"),
            height=number_of(coded, "Resolution", "Height"),
            note=note,
        )

    def _stream_url(self, url: str) -> tuple[str, str]:
        """The address of a stream with the login where that may go, and what is odd about it."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.scheme not in ("rtsp", "rtsps", "http", "https"):
            raise CameraTrouble(f"it gives no address of a stream but '{plain_text(url)}'")
        if not url.isprintable() or " " in url:
            raise CameraTrouble("it gives an address that holds blanks or control characters")
        if host != self._host:
            return url, (
                f"this address is on another host than the camera ({self._host}), so the login was "
                "left out: use it only if you know why"
            )
        if self._login is None or parts.username is not None:
            return url, ""
        login = f"{quote(self._login.username, safe='')}:{quote(self._login.password, safe='')}@"
        return url.replace("://", f"://{login}", 1), ""

    # ---- calls

    async def _call(
        self, url: str, namespace: str, ask: str, *, is_logged_in: bool = True
    ) -> Element:
        """Ask one thing; returns the body of the answer.

        Raises:
            CameraTrouble: it is not reached, refuses or makes no sense.
        """
        login = self._login if is_logged_in else None
        status, challenge, reply = await self._post(url, namespace, ask, login)
        if status == 401 and login is not None and self._digest is None:
            if "digest" not in challenge.lower():
                raise CameraTrouble(_REFUSES_LOGIN if not challenge else _only_plain(challenge))
            self._digest = httpx.DigestAuth(login.username, login.password)
            status, challenge, reply = await self._post(url, namespace, ask, login)
        if status == 401:
            raise CameraTrouble(_WANTS_LOGIN if self._login is None else _REFUSES_LOGIN)
        if status >= 300 and b"Envelope" not in reply:
            raise CameraTrouble(
                f"it answers with status {status}: check that this is the address of an ONVIF "
                "service, and that ONVIF is turned on in the camera"
            )
        body = body_of(reply)
        fault = find(body, "Fault")
        if fault is not None:
            raise self._fault(fault)
        return body

    def _fault(self, fault: Element) -> CameraTrouble:
        codes = " ".join(text_of(value) for value in find_all(fault, "Value"))
        why = plain_text(text_of(fault, "Reason", "Text") or text_of(fault, "faultstring"))
        said = f"{codes} {why}".lower().replace(" ", "")
        if any(word in said for word in ("notauthorized", "failedauthentication", "unauthorized")):
            return CameraTrouble(_WANTS_LOGIN if self._login is None else _REFUSES_LOGIN)
        return _Unknown(f"it refuses: {why or plain_text(codes) or 'without a reason'}")

    async def _post(
        self, url: str, namespace: str, ask: str, login: CameraLogin | None
    ) -> tuple[int, str, bytes]:
        """Send once; returns status, what login is asked for, and the body."""
        in_http = login is not None and self._digest is not None
        header = ""
        if login is not None and not in_http:
            header = username_token(login, wall_s=self._clock.wall_s() + self._ahead_s)
        try:
            async with self._http.stream(
                "POST",
                url,
                content=envelope(ask, header=header, namespace=namespace),
                headers={
                    "Content-Type": "application/soap+xml; charset=utf-8",
                    "Accept-Encoding": "identity",
                },
                auth=self._digest if in_http else None,
            ) as reply:
                challenge = ", ".join(reply.headers.get_list("WWW-Authenticate"))
                return reply.status_code, challenge, await _whole(reply)
        except httpx.TransportError as error:
            raise CameraTrouble(_unreachable(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError, RuntimeError) as error:
            raise CameraTrouble("it answers with something that is no HTTP or login") from error


class _Unknown(CameraTrouble):
    """The camera knows no such call, or does not grant it."""


async def _whole(reply: httpx.Response) -> bytes:
    pieces, num_bytes = [], 0
    async for piece in reply.aiter_raw():
        pieces.append(piece)
        num_bytes += len(piece)
        if num_bytes > MAX_REPLY_BYTES:
            raise CameraTrouble(f"its reply is longer than {MAX_REPLY_BYTES} bytes: not read")
    return b"".join(pieces)


def _only_plain(challenge: str) -> str:
    return (
        f"it wants the login as HTTP {plain_text(challenge.partition(' ')[0])}, which would tell "
        "the password: turn on digest in the camera"
    )


def _unreachable(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "it does not answer in time: check address and port, and --timeout"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "its TLS certificate is not trusted, as most cameras sign their own: --insecure"
    return f"it cannot be reached ({plain_text(str(error)) or type(error).__name__})"
