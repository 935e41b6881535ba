"""The 20 bytes in front of every binary message: which stream, which frame, when, how coded.

    0      2     3      4      5      6          8          12              20
    +------+-----+------+------+------+----------+----------+---------------+---------
    | "OL" | ver | codec| flags| slot | 0        | sequence | capture, us   | payload
    +------+-----+------+------+------+----------+----------+---------------+---------

All numbers are big-endian and unsigned.
"""

import struct

import msgspec

from onlooker.core.errors import InvalidRequest, UnsupportedMedia
from onlooker.core.media import Codec

MAGIC = b"OL"
HEADER_VERSION = 1
HEADER_BYTES = 20

FLAG_KEY_FRAME = 1
FLAG_LAST_FRAME = 2

MAX_SLOT = 255
MAX_SEQUENCE = 2**32 - 1
MAX_CAPTURE_US = 2**53 - 1
"""285 years; whole in a double, so that JSON and JavaScript keep it exact."""

_LAYOUT = struct.Struct(">2sBBBBHIQ")
assert _LAYOUT.size == HEADER_BYTES

_CODECS = {codec.value: codec for codec in Codec}


class FrameHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a frame message says of itself."""

    codec: Codec
    sequence: int
    """0 to 2**32 - 1, chosen by the sender, echoed in acknowledgements."""
    capture_us: int
    """Stream time of capture in microseconds."""
    slot: int = 0
    """The number of the stream among those that the connection feeds; 0 is the session's own."""
    key_frame: bool = False
    last_frame: bool = False
    """Whether the source ends with this frame."""

    @property
    def capture_s(self) -> float:
        """Stream time of capture in seconds."""
        return self.capture_us / 1_000_000

    def pack(self) -> bytes:
        """Return the 20 bytes.

        Raises:
            ValueError: a field does not fit its place.
        """
        if not 0 <= self.capture_us <= MAX_CAPTURE_US:
            raise ValueError(f"capture time {self.capture_us} us is outside 0..2**53-1")
        flags = FLAG_KEY_FRAME * self.key_frame | FLAG_LAST_FRAME * self.last_frame
        try:
            return _LAYOUT.pack(
                MAGIC, HEADER_VERSION, self.codec, flags, self.slot, 0, self.sequence,
                self.capture_us,
            )  # fmt: skip
        except struct.error as error:
            raise ValueError(f"a header field is out of range: {error}") from error


def pack_frame(header: FrameHeader, payload: bytes) -> bytes:
    """Return one binary message."""
    return header.pack() + payload


def unpack_frame(message: bytes) -> tuple[FrameHeader, bytes]:
    """Take a binary message apart.

    Raises:
        InvalidRequest: not a frame message; the text says what was expected and found.
        UnsupportedMedia: a codec number that is not one of `Codec`.
    """
    if len(message) < HEADER_BYTES:
        raise InvalidRequest(
            f"a binary message starts with a {HEADER_BYTES}-byte header; this one has "
            f"{len(message)} bytes in all",
            param="header",
        )
    magic, version, codec, flags, slot, reserved, sequence, capture_us = _LAYOUT.unpack_from(
        message
    )
    if magic != MAGIC:
        raise InvalidRequest(
            f"a binary message starts with 'OL' (4f 4c); this one starts with {magic.hex(' ')}",
            param="magic",
        )
    if version != HEADER_VERSION:
        raise InvalidRequest(
            f"header version {version} is not known here; send version {HEADER_VERSION}",
            param="version",
        )
    if reserved or flags & ~(FLAG_KEY_FRAME | FLAG_LAST_FRAME):
        raise InvalidRequest(
            "the reserved bits and bytes of the header must be zero",
            param="reserved" if reserved else "flags",
        )
    if capture_us > MAX_CAPTURE_US:
        raise InvalidRequest(
            f"capture time {capture_us} us is over 2**53-1; stream time is in microseconds and "
            "usually starts at 0",
            param="capture_us",
        )
    if codec not in _CODECS:
        known = ", ".join(f"{c.value} {c.name.lower()}" for c in Codec)
        raise UnsupportedMedia(f"codec {codec} is not known here; known are {known}", param="codec")
    if len(message) == HEADER_BYTES:
        raise InvalidRequest("the frame has no payload after its header", param="payload")
    header = FrameHeader(
        codec=_CODECS[codec],
        sequence=sequence,
        capture_us=capture_us,
        slot=slot,
        key_frame=bool(flags & FLAG_KEY_FRAME),
        last_frame=bool(flags & FLAG_LAST_FRAME),
    )
    return header, message[HEADER_BYTES:]
