"""Whether a message of coded video stands alone, from its first bytes."""

from onlooker.core.media import Codec
from onlooker.streams.perception.nal_units import IDR_SLICE, SEQUENCE_SET, SLICE, units

_SEARCHED_BYTES = 4096
"""Parameter sets, encoder notes and the first slice begin this near to the start of a message."""


def is_key_frame(codec: Codec, payload: bytes) -> bool:
    """Whether decoding can begin with this message. Pictures and containers always say yes."""
    if codec is Codec.H264:
        return _has_idr(payload)
    if not payload:
        return False
    if codec is Codec.VP8:
        return payload[0] & 1 == 0
    if codec is Codec.VP9:
        return _is_vp9_key(payload[0])
    return True


def _has_idr(payload: bytes) -> bool:
    """Whether Annex B bytes hold an IDR slice (type 5) or a sequence parameter set (7)."""
    for kind, _ in units(payload[:_SEARCHED_BYTES]):
        if kind in (IDR_SLICE, SEQUENCE_SET):
            return True
        if kind == SLICE:
            return False
    return False


def _is_vp9_key(first: int) -> bool:
    """Whether the first byte of an uncompressed VP9 header is a key frame's. Its bits: marker 0b10,
    two of the profile, (a reserved one,) show-existing, type."""
    if first >> 6 != 0b10:
        return False
    shift = 2 if (first >> 4) & 0b11 == 0b11 else 3
    shows_existing, is_delta = (first >> shift) & 1, (first >> (shift - 1)) & 1
    return not shows_existing and not is_delta
