"""SRT on the wire, as far as a receiver of live video needs it.

After draft-sharabayko-srt-01. All numbers are big-endian; sequence numbers have 31 bits and wrap.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

HEAD_BYTES = 16
MAX_BYTES = 1500
SEQUENCES = 1 << 31

HANDSHAKE, KEEPALIVE, ACK, NAK, SHUTDOWN, ACKACK, DROPREQ = 0, 1, 2, 3, 5, 6, 7
EXTENSION = 0x7FFF
"""A control packet whose `SrtControl.subtype` is one of the extensions of handshakes."""
INDUCTION, CONCLUSION, REJECTED = 1, 0xFFFFFFFF, 1000
"""Types of handshakes; those from REJECTED on say why not."""

HSREQ, HSRSP, KMREQ, KMRSP, STREAM_ID = 1, 2, 3, 4, 5
"""Extensions of handshakes; a key message (KM) is asked to be taken, and sent back when it is."""

WITH_HS, WITH_KM, WITH_CONFIG = 1, 2, 4
"""Flags of a handshake: which extensions follow."""

MAGIC = 0x4A17
VERSION = 0x010501
FLAGS = 0x3F
"""Times are kept, late packets are given up, losses are told again and again."""

_HANDSHAKE = struct.Struct(">IHHIIIIII16s")
_WINDOW_PACKETS = 8192


@dataclass(frozen=True, slots=True)
class SrtData:
    """A packet of the stream."""

    sequence: int
    key: int
    """The key that it is encrypted with, 1 or 2; 0: it is not encrypted."""
    payload: bytes


@dataclass(frozen=True, slots=True)
class SrtControl:
    """A packet about the stream."""

    kind: int
    subtype: int
    info: int
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SrtHandshake:
    """One step of agreeing to a connection."""

    version: int = 5
    encryption: int = 0
    flags: int = 0
    sequence: int
    kind: int
    socket_id: int
    cookie: int = 0
    extensions: tuple[tuple[int, bytes], ...] = ()

    @property
    def content(self) -> bytes:
        """The handshake as it travels, without the head of its packet."""
        fixed = _HANDSHAKE.pack(
            self.version, self.encryption, self.flags, self.sequence, MAX_BYTES, _WINDOW_PACKETS,
            self.kind, self.socket_id, self.cookie, bytes(16),
        )  # fmt: skip
        return fixed + b"".join(
            struct.pack(">HH", kind, len(content) // 4) + content
            for kind, content in self.extensions
        )

    @classmethod
    def of(cls, content: bytes) -> "SrtHandshake":
        """Take one apart.

        Raises:
            ValueError: it is cut off.
        """
        if len(content) < _HANDSHAKE.size:
            raise ValueError("a handshake is cut off")
        fields = _HANDSHAKE.unpack_from(content)
        version, encryption, flags, sequence, _, _, kind, socket_id, cookie, _ = fields
        return cls(
            version=version,
            encryption=encryption,
            flags=flags,
            sequence=sequence % SEQUENCES,
            kind=kind,
            socket_id=socket_id,
            cookie=cookie,
            extensions=tuple(_extensions(content[_HANDSHAKE.size :])),
        )


def split_packet(data: bytes) -> SrtData | SrtControl | None:
    """Take a datagram apart; None where it is none of SRT."""
    if len(data) < HEAD_BYTES:
        return None
    first, second = struct.unpack_from(">II", data)
    if first < SEQUENCES:
        return SrtData(first, second >> 27 & 3, data[HEAD_BYTES:])
    return SrtControl(first >> 16 & 0x7FFF, first & 0xFFFF, second, data[HEAD_BYTES:])


def control_packet(
    kind: int, *, to: int, time_s: float, subtype: int = 0, info: int = 0, content: bytes = b""
) -> bytes:
    """A control packet to the socket `to`, sent `time_s` seconds after the connection began."""
    stamp = int(time_s * 1e6) & 0xFFFFFFFF
    return struct.pack(">IIII", 1 << 31 | kind << 16 | subtype, info, stamp, to) + content


def agreement(latency_s: float) -> bytes:
    """The content of the extensions HSREQ and HSRSP."""
    latency_ms = round(latency_s * 1000)
    return struct.pack(">III", VERSION, FLAGS, latency_ms << 16 | latency_ms)


def stream_id_content(name: str) -> bytes:
    """A stream id, whose words of four bytes each travel back to front."""
    raw = name.encode()
    raw += bytes(-len(raw) % 4)
    return b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))


def loss_list(ranges: list[tuple[int, int]]) -> bytes:
    """First and last sequence numbers of what was lost, as the content of a NAK."""
    return b"".join(
        struct.pack(">I", first) if first == last else struct.pack(">II", first | 1 << 31, last)
        for first, last in ranges
    )


def ahead(sequence: int, of: int) -> int:
    """By how much `sequence` is ahead; negative where it is behind."""
    half = SEQUENCES // 2
    return (sequence - of + half) % SEQUENCES - half


def _extensions(content: bytes) -> Iterator[tuple[int, bytes]]:
    while len(content) >= 4:
        kind, num_words = struct.unpack_from(">HH", content)
        yield kind, content[4 : 4 + 4 * num_words]
        content = content[4 + 4 * num_words :]
