"""Our RTCP as aiortc reads it, and its RTP and RTCP as we do."""

import pytest
from aiortc import rtp
from hypothesis import given
from hypothesis import strategies as st

from onlooker.streams.webrtc import packets


def parsed(data: bytes) -> object:
    [packet] = rtp.RtcpPacket.parse(data)
    return packet


def test_a_packet_is_read_with_extensions_and_padding() -> None:
    sent = rtp.RtpPacket(payload_type=96, marker=1, sequence_number=7, timestamp=9, ssrc=3)
    sent.payload, sent.padding_size, sent.csrc = b"video", 6, [1, 2]
    sent.extensions.mid = "1"
    extensions = rtp.HeaderExtensionsMap()
    extensions.configure(_ExtensionParameters())  # type: ignore[arg-type]  # all it reads
    packet = packets.parse_rtp(sent.serialize(extensions))
    assert packet == packets.VideoPacket(96, 7, 9, 3, True, b"video")


class _Extension:
    uri, id = "urn:ietf:params:rtp-hdrext:sdes:mid", 1


class _ExtensionParameters:
    headerExtensions = (_Extension(),)  # noqa: N815 - aiortc's name


@given(st.binary(max_size=64))
def test_any_bytes_are_a_packet_or_none(data: bytes) -> None:
    packets.parse_rtp(data)
    packets.sender_reports(data)
    packets.ssrc_of(data)
    packets.is_rtcp(data)


def test_a_senders_report_is_found_among_others() -> None:
    info = rtp.RtcpSenderInfo(0x1111_2222_3333_4444, 5, 6, 7)
    compound = bytes(rtp.RtcpSdesPacket()) + bytes(rtp.RtcpSrPacket(ssrc=3, sender_info=info))
    assert packets.sender_reports(compound) == [packets.SenderReport(3, 0x2222_3333)]
    assert packets.sender_reports(compound[:-4]) == []


def test_a_report_tells_of_losses() -> None:
    block = packets.ReportBlock(3, 64, -2, 70_000, 12, 99, 100)
    told = parsed(packets.receiver_report(1, block))
    assert told == rtp.RtcpRrPacket(
        ssrc=1, reports=[rtp.RtcpReceiverInfo(3, 64, -2, 70_000, 12, 99, 100)]
    )


@pytest.mark.parametrize(
    "lost", [[1], [1, 2, 17], [1, 18], [65_534, 65_535, 0, 1], [5, 21, 22, 300]]
)
def test_what_is_lost_is_asked_for(lost: list[int]) -> None:
    told = parsed(packets.nack(1, 3, lost))
    assert isinstance(told, rtp.RtcpRtpfbPacket)
    assert (told.ssrc, told.media_ssrc) == (1, 3)
    assert [number & 0xFFFF for number in told.lost] == lost


def test_a_key_frame_is_asked_for() -> None:
    assert parsed(packets.picture_loss(1, 3)) == rtp.RtcpPsfbPacket(rtp.RTCP_PSFB_PLI, 1, 3)


@pytest.mark.parametrize("wished", [1, 200_000, 262_143, 262_144, 6_000_000, 1_000_000_000])
def test_a_bitrate_is_wished_for_and_never_rounded_up(wished: int) -> None:
    told = parsed(packets.bitrate_wish(1, 3, wished))
    assert isinstance(told, rtp.RtcpPsfbPacket)
    bits_per_s, ssrcs = rtp.unpack_remb_fci(told.fci)
    assert ssrcs == [3]
    assert 0.9999 * wished < bits_per_s <= wished
