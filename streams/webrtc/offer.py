"""`Offer`: what of a peer's SDP offer matters here. Reading it takes time in proportion to its
length, which is bounded, and keeps little of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from onlooker.core.errors import InvalidRequest, TooLarge, UnsupportedMedia
from onlooker.core.media import Codec
from onlooker.streams.webrtc.candidates import PeerAddress, parse_candidate

CODECS = {"H264": Codec.H264, "VP8": Codec.VP8, "VP9": Codec.VP9}

FINGERPRINTS = ("sha-256", "sha-384", "sha-512")

MAX_SECTIONS = 16
"""Media sections of one offer."""

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,64}")
_ICE_WORD = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PROTOCOLS = ("UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "TCP/TLS/RTP/SAVPF")


@dataclass(frozen=True, slots=True)
class OfferedCodec:
    """The codec that a peer is asked to send."""

    codec: Codec
    payload_type: int
    parameters: str
    """Its format parameters, as the answer repeats them."""
    feedback: tuple[str, ...]
    """The kinds of RTCP feedback for it that the peer understands and we send."""

    @property
    def name(self) -> str:
        """Its name in SDP."""
        return self.codec.name


@dataclass(slots=True)
class MediaSection:
    """One ``m=`` section of an offer."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    mid: str = ""
    attributes: list[tuple[str, str]] = field(default_factory=list)
    """Name and value of each attribute; the value is empty where there is none."""

    def all(self, name: str) -> list[str]:
        """The values of all attributes of a name."""
        return [value for key, value in self.attributes if key == name]

    @property
    def is_offered(self) -> bool:
        """Whether the peer has not rejected the section itself, by the port 0."""
        return self.port > 0 or bool(self.all("bundle-only"))

    @property
    def is_sent(self) -> bool:
        """Whether the peer sends in this section."""
        return self.is_offered and not (self.all("recvonly") or self.all("inactive"))


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer that can be answered."""

    sections: tuple[MediaSection, ...]
    video: MediaSection
    """The section whose video is taken."""
    codec: OfferedCodec
    bundled: frozenset[str]
    """The names of the sections that share one transport."""
    ice_username: str
    ice_password: str
    fingerprints: tuple[tuple[str, str], ...]
    """Algorithm and digest of the peer's certificate."""
    is_active: bool
    """Whether the peer insists on beginning the handshake."""
    is_passive: bool
    """Whether the peer insists on waiting for the handshake."""
    candidates: tuple[PeerAddress, ...]
    num_unusable: int
    """Candidates that cannot be tried."""
    ssrcs: frozenset[int]
    """The numbers by which the peer says it will send; empty where it does not say."""


def parse_offer(text: str, *, max_bytes: int) -> Offer:
    """Read an offer.

    Raises:
        TooLarge: it is longer than `max_bytes`.
        InvalidRequest: it is no offer, or lacks what a connection needs.
        UnsupportedMedia: it has no video, or none in a codec that is taken here.
    """
    if len(text.encode("utf-8", "replace")) > max_bytes:
        raise TooLarge(f"an offer may have {max_bytes} bytes (streams.webrtc.max_offer_bytes)")
    session, sections = _sections(text)
    video = _video_of(sections)
    codec = _codec_of(video)
    both = [*video.attributes, *session]
    username, password = _first(both, "ice-ufrag"), _first(both, "ice-pwd")
    if not (_ICE_WORD.fullmatch(username) and _ICE_WORD.fullmatch(password)):
        raise InvalidRequest("the offer has no 'a=ice-ufrag' and 'a=ice-pwd' of ICE")
    setup = _first(both, "setup")
    bundled = _bundled(session) or frozenset({video.mid})
    found = [
        candidate
        for section in sections
        if section is video or section.mid in bundled
        for candidate in section.all("candidate")
    ]
    usable = [c for c in map(parse_candidate, found) if c is not None]
    return Offer(
        sections=tuple(sections),
        video=video,
        codec=codec,
        bundled=bundled,
        ice_username=username,
        ice_password=password,
        fingerprints=_fingerprints(both),
        is_active=setup == "active",
        is_passive=setup == "passive",
        candidates=tuple(dict.fromkeys(usable)),
        num_unusable=len(found) - len(usable),
        ssrcs=_ssrcs(video),
    )


def _sections(text: str) -> tuple[list[tuple[str, str]], list[MediaSection]]:
    """The attributes of the session, and the media sections. Raises `InvalidRequest`."""
    if not text.startswith("v=0"):
        raise InvalidRequest("the body is no SDP offer: it should begin with 'v=0'")
    session: list[tuple[str, str]] = []
    sections: list[MediaSection] = []
    for line in text.splitlines():
        if line.startswith("m="):
            sections.append(_section(line))
            if len(sections) > MAX_SECTIONS:
                raise InvalidRequest(f"an offer may have {MAX_SECTIONS} media sections")
        elif line.startswith("a="):
            name, _, value = line[2:].strip().partition(":")
            attributes = sections[-1].attributes if sections else session
            attributes.append((name, value))
            if name == "mid" and sections:
                sections[-1].mid = value
    for section in sections:
        if section.mid and not _TOKEN.fullmatch(section.mid):
            raise InvalidRequest("the offer has a malformed 'a=mid'")
    return session, sections


def _section(line: str) -> MediaSection:
    words = line[2:].split()
    is_plain = all(_TOKEN.fullmatch(word) for word in (*words[:2], *words[3:]))
    if len(words) < 4 or not is_plain or not words[1].isdigit() or len(words) > 256:
        raise InvalidRequest("the offer has a malformed 'm=' line")
    if not re.fullmatch(r"[A-Za-z0-9/]{1,32}", words[2]):
        raise InvalidRequest("the offer has a malformed 'm=' line")
    return MediaSection(words[0], int(words[1]), words[2], tuple(words[3:]))


def _video_of(sections: Sequence[MediaSection]) -> MediaSection:
    for section in sections:
        if section.kind == "video" and section.is_sent and section.protocol in _PROTOCOLS:
            return section
    kinds = ", ".join(sorted({section.kind for section in sections})) or "nothing"
    raise UnsupportedMedia(
        f"the offer has no video that is sent over DTLS and SRTP; it has {kinds}. Send a section "
        "'m=video' that is 'a=sendonly'"
    )


def _codec_of(video: MediaSection) -> OfferedCodec:
    """The first codec, in the peer's order, that is taken here. Raises `UnsupportedMedia`."""
    names = dict(_numbered(video.all("rtpmap")))
    parameters = dict(_numbered(video.all("fmtp")))
    seen = []
    for number in video.formats:
        name, _, rate = names.get(number, "").partition("/")
        seen.append(name)
        if name.upper() not in CODECS or rate != "90000" or not number.isdigit():
            continue
        codec, given = CODECS[name.upper()], _parameters(parameters.get(number, ""))
        if codec is Codec.H264 and given.get("packetization-mode", "0") not in ("0", "1"):
            continue
        if codec is Codec.VP9 and given.get("profile-id", "0") != "0":
            continue
        kept = ("level-asymmetry-allowed", "packetization-mode", "profile-level-id", "profile-id")
        repeated = ";".join(f"{key}={given[key]}" for key in kept if key in given)
        offered = {value for key, value in _numbered(video.all("rtcp-fb")) if key in (number, "*")}
        feedback = tuple(kind for kind in ("nack", "nack pli", "goog-remb") if kind in offered)
        return OfferedCodec(codec, int(number), repeated, feedback)
    others = ", ".join(sorted({name for name in seen if name})[:12]) or "none"
    raise UnsupportedMedia(
        f"the offer's video has no codec that is taken here (H264, VP8, VP9 of profile 0); it has "
        f"{others}"[:500]
    )


def _numbered(values: Sequence[str]) -> list[tuple[str, str]]:
    """Attributes that begin with the number of a payload, split after it."""
    pairs = (value.partition(" ") for value in values)
    return [(number, rest.strip()) for number, _, rest in pairs]


def _parameters(text: str) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in text.split(";"))
    return {key.lower(): value for key, _, value in pairs if _TOKEN.fullmatch(value)}


def _first(attributes: Sequence[tuple[str, str]], name: str) -> str:
    return next((value.strip() for key, value in attributes if key == name), "")


def _bundled(session: Sequence[tuple[str, str]]) -> frozenset[str]:
    for key, value in session:
        if key == "group" and value.startswith("BUNDLE "):
            return frozenset(value.split()[1:])
    return frozenset()


def _fingerprints(attributes: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    found = []
    for key, value in attributes:
        algorithm, _, digest = value.partition(" ")
        if key == "fingerprint" and algorithm.lower() in FINGERPRINTS:
            found.append((algorithm.lower(), digest.strip().upper()))
    if not found:
        raise InvalidRequest(
            f"the offer has no 'a=fingerprint' of {', '.join(FINGERPRINTS)}, without which nobody "
            "can tell who sends"
        )
    return tuple(dict.fromkeys(found))[:8]


def _ssrcs(video: MediaSection) -> frozenset[int]:
    numbers = {value.split(" ", 1)[0] for value in video.all("ssrc")}
    known = [int(number) for number in sorted(numbers) if re.fullmatch(r"[0-9]{1,10}", number)]
    return frozenset(known[:8])


@dataclass(frozen=True, slots=True)
class Fragment:
    """Candidates that came after the offer (RFC 8840)."""

    ice_username: str
    ice_password: str
    candidates: tuple[PeerAddress, ...]
    num_unusable: int


def parse_fragment(text: str, *, max_bytes: int) -> Fragment:
    """Read a fragment of SDP.

    Raises:
        TooLarge: it is longer than `max_bytes`.
        InvalidRequest: it is none.
    """
    if len(text.encode("utf-8", "replace")) > max_bytes:
        raise TooLarge(f"a fragment may have {max_bytes} bytes (streams.webrtc.max_offer_bytes)")
    pairs = [line[2:].strip().partition(":") for line in text.splitlines() if line[:2] == "a="]
    attributes = [(name, value) for name, _, value in pairs]
    username = _first(attributes, "ice-ufrag")
    found = [value for name, value in attributes if name == "candidate"]
    if not username:
        raise InvalidRequest("the fragment has no 'a=ice-ufrag', which says what it belongs to")
    usable = [c for c in map(parse_candidate, found) if c is not None]
    password = _first(attributes, "ice-pwd")
    return Fragment(username, password, tuple(usable), len(found) - len(usable))
