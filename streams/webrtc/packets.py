"""RTP packets as they come in, and the RTCP packets that go back: reports and requests.

The layouts are those of RFC 3550 (RTP, reports), RFC 4585 (NACK, PLI) and the REMB draft
(draft-alvestrand-rmcat-remb).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

RTP_HEADER_BYTES = 12

_SENDER_REPORT, _RECEIVER_REPORT, _TRANSPORT_FEEDBACK, _PAYLOAD_FEEDBACK = 200, 201, 205, 206
_NACK, _PLI, _APPLICATION = 1, 1, 15
_MOST_MANTISSA = (1 << 18) - 1


@dataclass(frozen=True, slots=True)
class VideoPacket:
    """One RTP packet, decrypted."""

    payload_type: int
    sequence: int
    """The 16 bits that travel."""
    timestamp: int
    """The time of the frame in ticks of the media clock, 32 bits."""
    ssrc: int
    is_last: bool
    """Whether the packet is marked as the last of its frame."""
    payload: bytes


def parse_rtp(data: bytes) -> VideoPacket | None:
    """The packet in `data`; None when it is malformed."""
    if len(data) < RTP_HEADER_BYTES or data[0] >> 6 != 2:
        return None
    first, second, sequence, timestamp, ssrc = struct.unpack_from("!BBHLL", data)
    begin = RTP_HEADER_BYTES + 4 * (first & 0x0F)
    if first & 0x10:
        if len(data) < begin + 4:
            return None
        begin += 4 + 4 * int.from_bytes(data[begin + 2 : begin + 4], "big")
    end = len(data)
    if first & 0x20:
        end -= data[-1]
    if begin > end:
        return None
    return VideoPacket(
        payload_type=second & 0x7F,
        sequence=sequence,
        timestamp=timestamp,
        ssrc=ssrc,
        is_last=bool(second & 0x80),
        payload=data[begin:end],
    )


def is_rtcp(data: bytes) -> bool:
    """Whether `data` is RTCP rather than RTP, where both share one port (RFC 5761)."""
    return len(data) >= 2 and 192 <= data[1] <= 223


def ssrc_of(data: bytes) -> int | None:
    """Who sent a packet, which stands in the clear also where the rest is encrypted; None when it
    is too short to say."""
    begin, least = (4, 8) if is_rtcp(data) else (8, RTP_HEADER_BYTES)
    return int.from_bytes(data[begin : begin + 4], "big") if len(data) >= least else None


@dataclass(frozen=True, slots=True)
class SenderReport:
    """The part of a sender's report that a receiver repeats to it."""

    ssrc: int
    stamp: int
    """The middle 32 bits of the sender's NTP time."""


def sender_reports(data: bytes) -> list[SenderReport]:
    """The sender's reports in a compound RTCP packet; what follows something malformed is left
    out."""
    found = []
    begin = 0
    while begin + 4 <= len(data):
        first, kind, length = struct.unpack_from("!BBH", data, begin)
        end = begin + 4 + 4 * length
        if first >> 6 != 2 or end > len(data):
            break
        if kind == _SENDER_REPORT and end - begin >= 28:
            ssrc, stamp = struct.unpack_from("!L2xL", data, begin + 4)
            found.append(SenderReport(ssrc, stamp))
        begin = end
    return found


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver reports of one sender."""

    ssrc: int
    fraction_lost: int
    """Packets lost since the last report, in 256ths of those expected."""
    num_lost: int
    highest_sequence: int
    """The highest sequence number, extended to 32 bits."""
    jitter: int
    """In ticks of the media clock."""
    last_stamp: int
    """`SenderReport.stamp` of the newest report; 0 when none came."""
    since_stamp: int
    """Time since that report came, in 65,536ths of a second."""


def receiver_report(own_ssrc: int, block: ReportBlock) -> bytes:
    """A receiver's report on one sender."""
    lost = max(-(1 << 23), min(block.num_lost, (1 << 23) - 1)) & 0xFFFFFF
    body = struct.pack(
        "!LLLLLLL",
        own_ssrc,
        block.ssrc,
        block.fraction_lost << 24 | lost,
        block.highest_sequence & 0xFFFFFFFF,
        min(block.jitter, 0xFFFFFFFF),
        block.last_stamp,
        min(block.since_stamp, 0xFFFFFFFF),
    )
    return _rtcp(_RECEIVER_REPORT, 1, body)


def nack(own_ssrc: int, ssrc: int, sequences: Sequence[int]) -> bytes:
    """A request to send packets again. `sequences`: their 16-bit numbers, in order; not empty."""
    pairs = b""
    first, mask = sequences[0], 0
    for sequence in sequences[1:]:
        distance = (sequence - first) & 0xFFFF
        if distance <= 16:
            mask |= 1 << (distance - 1)
        else:
            pairs += struct.pack("!HH", first, mask)
            first, mask = sequence, 0
    pairs += struct.pack("!HH", first, mask)
    return _rtcp(_TRANSPORT_FEEDBACK, _NACK, struct.pack("!LL", own_ssrc, ssrc) + pairs)


def picture_loss(own_ssrc: int, ssrc: int) -> bytes:
    """A request for a key frame."""
    return _rtcp(_PAYLOAD_FEEDBACK, _PLI, struct.pack("!LL", own_ssrc, ssrc))


def bitrate_wish(own_ssrc: int, ssrc: int, bits_per_s: int) -> bytes:
    """The most that the sender should send (REMB)."""
    exponent = max(0, bits_per_s.bit_length() - 18)
    mantissa = min(bits_per_s >> exponent, _MOST_MANTISSA)
    packed = 1 << 24 | exponent << 18 | mantissa
    body = struct.pack("!LL4sLL", own_ssrc, 0, b"REMB", packed, ssrc)
    return _rtcp(_PAYLOAD_FEEDBACK, _APPLICATION, body)


def _rtcp(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack("!BBH", 2 << 6 | count, kind, len(body) // 4) + body
