"""WebSocket frames as bytes: RFC 6455, section 5.2."""

from typing import NamedTuple

from websockets.frames import apply_mask  # type: ignore[attr-defined]  # the quickest there is

WHOLE_BINARY = 0x82
"""The first byte of a binary message in one frame, without extensions."""

MASK_BYTES = 4


class FramePlace(NamedTuple):
    """Where the parts of a frame lie that begins some bytes."""

    payload_at: int
    num_bytes: int
    """Of the whole frame, its head among them."""
    is_masked: bool


def frame_place(data: bytes | bytearray) -> FramePlace | None:
    """Where the parts of the frame lie with which `data` begins; None where too little of its head
    is there to say so. The payload need not be there."""
    if len(data) < 2:
        return None
    size, at = data[1] & 0x7F, 2
    if size > 125:
        at = 4 if size == 126 else 10
        if len(data) < at:
            return None
        size = int.from_bytes(data[2:at])
    is_masked = data[1] > 0x7F
    at += MASK_BYTES * is_masked
    return FramePlace(at, at + size, is_masked)


def unmasked(data: bytes | bytearray, place: FramePlace) -> bytes:
    """The payload of a frame that is there whole, and masked."""
    at = place.payload_at
    return apply_mask(data[at : place.num_bytes], data[at - MASK_BYTES : at])


def text_head(num_bytes: int) -> bytes:
    """What goes before a whole text message of a server, which is not masked."""
    if num_bytes < 126:
        return bytes((0x81, num_bytes))
    if num_bytes < 1 << 16:
        return b"\x81\x7e" + num_bytes.to_bytes(2)
    return b"\x81\x7f" + num_bytes.to_bytes(8)
