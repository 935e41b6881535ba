"""SDP offers as text, with parts that tests exchange."""

FINGERPRINT = "sha-256 " + ":".join(["AB"] * 32)

H264 = (
    "a=rtpmap:102 H264/90000",
    "a=rtcp-fb:102 nack",
    "a=rtcp-fb:102 nack pli",
    "a=rtcp-fb:102 goog-remb",
    "a=rtcp-fb:102 transport-cc",
    "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
)
VP8 = ("a=rtpmap:96 VP8/90000", "a=rtcp-fb:* nack pli")
VP9 = ("a=rtpmap:98 VP9/90000", "a=fmtp:98 profile-id=0")
AV1 = ("a=rtpmap:45 AV1/90000",)

PAYLOADS = {H264: 102, VP8: 96, VP9: 98, AV1: 45}

AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111",
    "c=IN IP4 0.0.0.0",
    "a=mid:0",
    "a=sendonly",
    "a=rtcp-mux",
    "a=rtpmap:111 opus/48000/2",
)

DATA = (
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "c=IN IP4 0.0.0.0",
    "a=mid:2",
)


def candidate(host: str, *, port: int = 50_000, transport: str = "udp", kind: str = "host") -> str:
    """A line that names an address of the peer's."""
    return f"a=candidate:1 1 {transport} 2130706431 {host} {port} typ {kind}"


def video(*codecs: tuple[str, ...], direction: str = "sendonly", more: tuple[str, ...] = ()) -> str:
    """A section of video."""
    numbers = " ".join(str(PAYLOADS[codec]) for codec in codecs)
    lines = (line for codec in codecs for line in codec)
    return "\r\n".join(
        (
            f"m=video 9 UDP/TLS/RTP/SAVPF {numbers}",
            "c=IN IP4 0.0.0.0",
            "a=mid:1",
            f"a={direction}",
            "a=rtcp-mux",
            "a=rtcp-rsize",
            *lines,
            *more,
        )
    )


def make_offer(
    *sections: str | tuple[str, ...],
    mids: str = "0 1 2",
    ice: tuple[str, ...] = ("a=ice-ufrag:abcd", "a=ice-pwd:" + "p" * 24),
    fingerprint: str = f"a=fingerprint:{FINGERPRINT}",
    setup: str = "actpass",
) -> str:
    """An offer; without sections, of video in VP8 and H.264."""
    texts = [one if isinstance(one, str) else "\r\n".join(one) for one in sections]
    head = (
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        f"a=group:BUNDLE {mids}",
        *ice,
        fingerprint,
        f"a=setup:{setup}",
    )
    return "\r\n".join((*head, *(texts or [video(VP8, H264)]))) + "\r\n"
