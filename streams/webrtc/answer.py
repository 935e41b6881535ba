"""The SDP answer: one video section that is received, and everything else left aside."""

from dataclasses import dataclass

from onlooker.streams.webrtc.offer import MediaSection, Offer


@dataclass(frozen=True, slots=True)
class OwnSide:
    """What the answer says of this server."""

    ice_username: str
    ice_password: str
    candidates: tuple[str, ...]
    """Our addresses, as SDP writes them."""
    fingerprints: tuple[tuple[str, str], ...]
    """Algorithm and digest of our certificate."""
    max_bits_per_s: int
    session_number: int
    """Names this answer, as SDP wants it."""


def write_answer(offer: Offer, own: OwnSide) -> str:
    """The answer to `offer`. Only the video is taken, in one codec and as one layer: simulcast,
    retransmission by a stream of its own, and rotation by header are not taken up, whereupon peers
    send one layer, send again what was lost in the stream itself, and turn the pictures upright."""
    taken = [section for section in offer.sections if _is_kept(section, offer)]
    mids = " ".join(section.mid for section in taken if section.mid)
    lines = [
        "v=0",
        f"o=- {own.session_number} 1 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        *([f"a=group:BUNDLE {mids}"] if mids else []),
    ]
    for section in offer.sections:
        if section is offer.video:
            lines += [*_head(section, own, offer), *_video(offer)]
        elif section in taken:
            lines += [*_head(section, own, offer), "a=inactive", *_any_codec(section)]
        else:
            lines += _rejected(section)
    return "\r\n".join(lines) + "\r\n"


def _is_kept(section: MediaSection, offer: Offer) -> bool:
    """Whether a section stays: the video, and what shares its transport, though nothing is sent in
    it. Sections of data are rejected."""
    is_media = section.kind in ("audio", "video") and "RTP" in section.protocol
    return section is offer.video or (
        is_media and section.mid in offer.bundled and section.is_offered
    )


def _head(section: MediaSection, own: OwnSide, offer: Offer) -> list[str]:
    is_video = section is offer.video
    number = offer.codec.payload_type if is_video else section.formats[0]
    bandwidth = [f"b=AS:{own.max_bits_per_s // 1000}", f"b=TIAS:{own.max_bits_per_s}"]
    return [
        f"m={section.kind} 9 {section.protocol} {number}",
        "c=IN IP4 0.0.0.0",
        *(bandwidth if is_video else []),
        *([f"a=mid:{section.mid}"] if section.mid else []),
        f"a=ice-ufrag:{own.ice_username}",
        f"a=ice-pwd:{own.ice_password}",
        "a=ice-options:trickle",
        *(f"a=fingerprint:{algorithm} {digest}" for algorithm, digest in own.fingerprints),
        f"a=setup:{'active' if offer.is_passive else 'passive'}",
        "a=rtcp-mux",
        *(f"a=candidate:{candidate}" for candidate in own.candidates),
        "a=end-of-candidates",
    ]


def _video(offer: Offer) -> list[str]:
    codec = offer.codec
    lines = [
        "a=recvonly",
        *(["a=rtcp-rsize"] if offer.video.all("rtcp-rsize") else []),
        f"a=rtpmap:{codec.payload_type} {codec.name}/90000",
    ]
    if codec.parameters:
        lines.append(f"a=fmtp:{codec.payload_type} {codec.parameters}")
    lines += [f"a=rtcp-fb:{codec.payload_type} {kind}" for kind in codec.feedback]
    return lines


def _any_codec(section: MediaSection) -> list[str]:
    """The map of the section's first format, which an answer has to repeat."""
    first = section.formats[0]
    return [f"a=rtpmap:{value}" for value in section.all("rtpmap") if value.split(" ")[0] == first]


def _rejected(section: MediaSection) -> list[str]:
    return [
        f"m={section.kind} 0 {section.protocol} {section.formats[0]}",
        "c=IN IP4 0.0.0.0",
        *([f"a=mid:{section.mid}"] if section.mid else []),
        "a=inactive",
    ]
