"""The payloads of RTP packets to coded frames: H.264 (RFC 6184), VP8 (RFC 7741), VP9 (RFC 9628).

Everything here was written by a stranger: whatever is malformed makes the frame that it is in
useless, and nothing else.
"""

from typing import Protocol

from onlooker.core.media import Codec

START_CODE = b"\x00\x00\x00\x01"

_AGGREGATE, _FRAGMENT = 24, 28


class Depacketiser(Protocol):
    """Puts the payloads of one frame together; they come in order."""

    def add(self, payload: bytes) -> None:
        """Take the next payload."""
        ...

    def take(self) -> bytes | None:
        """End the frame and return it; None when it is not whole. Begins the next one."""
        ...


def make_depacketiser(codec: Codec) -> Depacketiser:
    """The depacketiser of a codec that WebRTC carries here."""
    match codec:
        case Codec.H264:
            return H264Payloads()
        case Codec.VP8:
            return Vp8Payloads()
        case Codec.VP9:
            return Vp9Payloads()
    raise ValueError(f"WebRTC carries no {codec.name} here")


class H264Payloads:
    """Single units, aggregates (STAP-A) and fragments (FU-A) to an Annex B access unit."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._is_broken = False
        self._is_open = False
        """Whether a fragmented unit has begun and not ended."""

    def add(self, payload: bytes) -> None:
        kind = payload[0] & 0x1F if payload else 0
        if kind == _FRAGMENT:
            self._add_fragment(payload)
        elif self._is_open or kind == 0:
            self._is_broken = True
        elif kind == _AGGREGATE:
            self._add_aggregate(payload)
        elif kind < _AGGREGATE:
            self._parts += (START_CODE, payload)
        else:
            self._is_broken = True

    def take(self) -> bytes | None:
        is_whole = bool(self._parts) and not self._is_broken and not self._is_open
        frame = b"".join(self._parts) if is_whole else None
        self._parts, self._is_broken, self._is_open = [], False, False
        return frame

    def _add_aggregate(self, payload: bytes) -> None:
        begin = 1
        while begin + 2 < len(payload):
            end = begin + 2 + int.from_bytes(payload[begin : begin + 2], "big")
            if end > len(payload) or end == begin + 2:
                break
            self._parts += (START_CODE, payload[begin + 2 : end])
            begin = end
        if begin != len(payload):
            self._is_broken = True

    def _add_fragment(self, payload: bytes) -> None:
        if len(payload) < 3:
            self._is_broken = True
            return
        is_first, is_last = payload[1] & 0x80, payload[1] & 0x40
        if bool(is_first) is self._is_open:  # a second beginning, or none
            self._is_broken = True
        if is_first:
            self._parts += (START_CODE, bytes(((payload[0] & 0xE0) | (payload[1] & 0x1F),)))
        self._parts.append(payload[2:])
        self._is_open = not is_last


class Vp8Payloads:
    """Payloads with a descriptor in front, which is thrown away."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._is_broken = False

    def add(self, payload: bytes) -> None:
        begin = self._descriptor_bytes(payload)
        begins_frame = bool(payload) and payload[0] & 0x17 == 0x10  # S is set, the partition 0
        if begin >= len(payload) or (not self._parts and not begins_frame):
            self._is_broken = True
            return
        self._parts.append(payload[begin:])

    def take(self) -> bytes | None:
        frame = None if self._is_broken or not self._parts else b"".join(self._parts)
        self._parts, self._is_broken = [], False
        return frame

    @staticmethod
    def _descriptor_bytes(payload: bytes) -> int:
        if not payload or not payload[0] & 0x80:
            return 1
        flags = payload[1] if len(payload) > 1 else 0
        length = 2
        if flags & 0x80:  # a picture id, of one byte or two
            length += 2 if len(payload) > length and payload[length] & 0x80 else 1
        if flags & 0x40:
            length += 1
        if flags & 0x30:
            length += 1
        return length


class Vp9Payloads:
    """Payloads with a descriptor in front, which is thrown away. Of a picture with several spatial
    layers only the lowest is taken, which can be decoded alone."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._is_broken = False

    def add(self, payload: bytes) -> None:
        try:
            begin, layer = _vp9_descriptor(payload)
        except IndexError:
            self._is_broken = True
            return
        if layer > 0:
            return
        begins_frame = payload[0] & 0x08
        if begin >= len(payload) or (not self._parts and not begins_frame):
            self._is_broken = True
            return
        self._parts.append(payload[begin:])

    def take(self) -> bytes | None:
        frame = None if self._is_broken or not self._parts else b"".join(self._parts)
        self._parts, self._is_broken = [], False
        return frame


def _vp9_descriptor(payload: bytes) -> tuple[int, int]:
    """The length of the descriptor, and the spatial layer. Raises `IndexError` when it is cut
    off."""
    flags, length, layer = payload[0], 1, 0
    if flags & 0x80:  # a picture id, of one byte or two
        length += 2 if payload[length] & 0x80 else 1
    if flags & 0x20:  # layers
        layer = payload[length] >> 1 & 0x07
        length += 1 if flags & 0x10 else 2
    if flags & 0x50 == 0x50:  # up to three references
        for _ in range(3):
            length += 1
            if not payload[length - 1] & 0x01:
                break
    if flags & 0x02:  # the structure of the layers
        structure = payload[length]
        length += 1
        if structure & 0x10:
            length += 4 * ((structure >> 5) + 1)
        if structure & 0x08:
            num_pictures = payload[length]
            length += 1
            for _ in range(num_pictures):
                length += 1 + (payload[length] >> 2 & 0x03)
    return length, layer
