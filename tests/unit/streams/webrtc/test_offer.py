import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.errors import ClientError, InvalidRequest, TooLarge, UnsupportedMedia
from onlooker.core.media import Codec
from onlooker.streams.webrtc.answer import OwnSide, write_answer
from onlooker.streams.webrtc.offer import Offer, parse_fragment, parse_offer
from tests.fakes.offers import AUDIO, AV1, DATA, H264, VP8, VP9, candidate, make_offer, video

OWN = OwnSide(
    ice_username="ours",
    ice_password="w" * 22,
    candidates=("1 1 udp 2130706431 192.0.2.1 40000 typ host",),
    fingerprints=(("sha-256", "CD:EF"),),
    max_bits_per_s=5_000_000,
    session_number=7,
)


def read(text: str) -> Offer:
    return parse_offer(text, max_bytes=65_536)


def answered(text: str) -> dict[str, list[str]]:
    """The lines of each section of the answer, by the kind of its media; the head's by ``""``."""
    found: dict[str, list[str]] = {"": []}
    kind = ""
    for line in write_answer(read(text), OWN).splitlines():
        if line.startswith("m="):
            kind = line[2:].split()[0]
            found[kind] = []
        found[kind].append(line)
    return found


def test_the_first_codec_that_is_known_is_taken_in_the_peers_order() -> None:
    assert read(make_offer(video(AV1, H264, VP8))).codec.codec is Codec.H264
    assert read(make_offer(video(VP8, H264))).codec.codec is Codec.VP8
    assert read(make_offer(video(VP9))).codec.codec is Codec.VP9


def test_what_a_peer_understands_as_feedback_is_kept_as_far_as_it_is_sent() -> None:
    assert read(make_offer(video(H264))).codec.feedback == ("nack", "nack pli", "goog-remb")
    assert read(make_offer(video(VP8))).codec.feedback == ("nack pli",)


def test_interleaved_h264_and_deep_vp9_are_passed_over() -> None:
    interleaved = tuple(line.replace("mode=1", "mode=2") for line in H264)
    text = make_offer(video(VP8)).replace("VP8/90000", "VP9/90000\r\na=fmtp:96 profile-id=2")
    with pytest.raises(UnsupportedMedia, match="it has VP9"):
        read(text)
    text = make_offer(video(H264)).replace("\r\n".join(H264), "\r\n".join(interleaved))
    with pytest.raises(UnsupportedMedia, match="it has H264"):
        read(text)


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("", InvalidRequest, "begin with 'v=0'"),
        ("{}", InvalidRequest, "begin with 'v=0'"),
        ("v=0\r\n", UnsupportedMedia, "it has nothing"),
        (make_offer(AUDIO), UnsupportedMedia, "it has audio"),
        (make_offer(AUDIO, DATA), UnsupportedMedia, "it has application, audio"),
        (make_offer(video(VP8, direction="recvonly")), UnsupportedMedia, "it has video"),
        (make_offer(video(VP8, direction="inactive")), UnsupportedMedia, "it has video"),
        (make_offer(video(AV1)), UnsupportedMedia, "H264, VP8, VP9 of profile 0.*it has AV1"),
        (make_offer(ice=()), InvalidRequest, "a=ice-ufrag"),
        (make_offer(ice=("a=ice-ufrag:ab cd", "a=ice-pwd:x")), InvalidRequest, "a=ice-ufrag"),
        (make_offer(fingerprint="a=x:y"), InvalidRequest, "a=fingerprint"),
        (make_offer(fingerprint="a=fingerprint:sha-1 AB"), InvalidRequest, "sha-256"),
        (make_offer("m=video x"), InvalidRequest, "malformed 'm=' line"),
        (make_offer(*[video(VP8)] * 17), InvalidRequest, "16 media sections"),
        (make_offer(video(VP8).replace("mid:1", "mid:a b")), InvalidRequest, "malformed 'a=mid'"),
    ],
)
def test_an_offer_that_cannot_be_answered_says_why(
    text: str, error: type[ClientError], match: str
) -> None:
    with pytest.raises(error, match=match):
        read(text)


def test_an_offer_has_a_longest_length() -> None:
    with pytest.raises(TooLarge, match="max_offer_bytes"):
        parse_offer(make_offer() + "a=x\r\n" * 1000, max_bytes=4096)


@given(st.text(alphabet="vmaco=:/ \r\n09aVP8*-videosendonlyfingerprint,\x85", max_size=400))
def test_any_text_at_all_is_an_offer_or_a_clients_error(noise: str) -> None:
    for text in (noise, "v=0\r\n" + noise, make_offer() + noise, make_offer(video(VP8) + noise)):
        try:
            write_answer(read(text), OWN)
        except ClientError:
            continue


def test_only_addresses_that_can_be_tried_are_kept() -> None:
    lines = (
        candidate("192.0.2.7"),
        candidate("192.0.2.7"),
        candidate("2001:db8::1", kind="srflx"),
        candidate("192.0.2.8", transport="tcp"),
        candidate("5f0ad1c2-0000-4000-8000-d1e5c0ffee00.local"),
        candidate("printer.example.org"),
        candidate("192.0.2.9", port=70_000),
        "a=candidate:nonsense",
    )
    offer = read(make_offer(video(VP8, more=lines)))
    assert [one.host for one in offer.candidates] == ["192.0.2.7", "2001:db8::1"]
    assert offer.num_unusable == 5


def test_the_answer_takes_one_video_and_one_codec() -> None:
    lines = answered(make_offer(video(VP8, H264)))["video"]
    assert lines[0] == "m=video 9 UDP/TLS/RTP/SAVPF 96"
    assert {"a=recvonly", "a=setup:passive", "a=mid:1", "a=rtcp-rsize"} <= set(lines)
    assert [line for line in lines if "rtpmap" in line] == ["a=rtpmap:96 VP8/90000"]
    assert "b=AS:5000" in lines
    assert lines.index("b=AS:5000") < lines.index("a=recvonly")


def test_the_answer_repeats_what_h264_is_told_apart_by() -> None:
    fmtp = [line for line in answered(make_offer(video(H264)))["video"] if "fmtp" in line]
    assert fmtp == [
        "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
    ]


def test_sound_stays_in_the_bundle_and_is_not_sent() -> None:
    answer = answered(make_offer(AUDIO, video(VP8), DATA))
    assert "a=group:BUNDLE 0 1" in answer[""]
    assert "a=inactive" in answer["audio"]
    assert "a=rtpmap:111 opus/48000/2" in answer["audio"]
    assert answer["audio"][0].startswith("m=audio 9 ")
    assert answer["application"][0].startswith("m=application 0 ")


def test_of_two_videos_the_first_is_taken() -> None:
    other = video(VP8).replace("a=mid:1", "a=mid:2")
    lines = write_answer(read(make_offer(video(VP8), other)), OWN).splitlines()
    assert [line for line in lines if line in ("a=recvonly", "a=inactive")] == [
        "a=recvonly",
        "a=inactive",
    ]


def test_neither_rotation_nor_layers_are_taken_up_so_that_pictures_come_upright_and_once() -> None:
    more = (
        "a=extmap:4 urn:3gpp:video-orientation",
        "a=rid:h send",
        "a=rid:l send",
        "a=simulcast:send h;l",
    )
    text = write_answer(read(make_offer(video(VP8, more=more))), OWN)
    assert "extmap" not in text
    assert "simulcast" not in text


@pytest.mark.parametrize(
    ("setup", "ours"), [("actpass", "passive"), ("active", "passive"), ("passive", "active")]
)
def test_who_begins_the_handshake_is_up_to_the_peer(setup: str, ours: str) -> None:
    assert f"a=setup:{ours}" in answered(make_offer(setup=setup))["video"]


def test_a_fragment_names_its_ice_and_further_addresses() -> None:
    text = f"a=ice-ufrag:abcd\r\nm=video 9 RTP/AVP 0\r\na=mid:1\r\n{candidate('192.0.2.7')}\r\n"
    fragment = parse_fragment(text, max_bytes=4096)
    assert fragment.ice_username == "abcd"
    assert [one.host for one in fragment.candidates] == ["192.0.2.7"]
    with pytest.raises(InvalidRequest, match="a=ice-ufrag"):
        parse_fragment(candidate("192.0.2.7"), max_bytes=4096)
    with pytest.raises(TooLarge):
        parse_fragment(text * 100, max_bytes=4096)
