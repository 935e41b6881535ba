"""The entries of a journal, and their binary form.

    0   magic "OLJ1" | kind u8 | codec u8 | flags u16 | payload bytes u32
    12  number u64 | sequence i64 | capture time f64
    36  digest (16 bytes): XXH3-128 of bytes 0-35 and the payload
    52  payload

Little-endian. Bit 1 of the flags says that a frame is the last of its sequence number; bit 2 that
the entry is a *look*: it has no payload, and says that a frame of its time was nearly the same as
those of its sequence number. Kind 2, *marks*, and the number stand only in the files of earlier
versions (`journals.old_folder`), as may bit 0 of the flags, which means nothing.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

import xxhash

from onlooker.core.media import Codec

MAGIC = b"OLJ1"
MAX_PAYLOAD_BYTES = 256 << 20

_FIELDS = struct.Struct("<4sBBHIQqd")
_DIGEST_BYTES = 16
HEADER_BYTES = _FIELDS.size + _DIGEST_BYTES
_LAST_FLAG = 2
_LOOK_FLAG = 4


class EntryKind(IntEnum):
    FRAME = 1
    MARK = 2


@dataclass(frozen=True, slots=True)
class EntryHeader:
    """What stands before the payload of an entry."""

    kind: EntryKind
    number: int
    """In the files of earlier versions, the position of the frame."""
    sequence: int
    capture_s: float
    codec: Codec
    is_last: bool
    payload_bytes: int
    is_look: bool = False

    @property
    def num_bytes(self) -> int:
        """Size of the whole entry."""
        return HEADER_BYTES + self.payload_bytes


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One frame as a replay returns it."""

    position: int
    """Its place in the journal of its stream; see `JournalReceipt`."""
    sequence: int
    capture_s: float
    codec: Codec
    is_last: bool
    payload: bytes
    is_look: bool = False
    """Whether it stands for a frame that was nearly the same as the last one of its sequence, and
    has no payload."""


def pack_entry(header: EntryHeader, payload: bytes | memoryview) -> bytes:
    """The bytes that stand before the payload."""
    fields = _FIELDS.pack(
        MAGIC,
        header.kind,
        header.codec,
        header.is_last * _LAST_FLAG | header.is_look * _LOOK_FLAG,
        header.payload_bytes,
        header.number,
        header.sequence,
        header.capture_s,
    )
    return fields + _digest(fields, payload)


def pack_frame(
    *,
    sequence: int,
    capture_s: float,
    codec: Codec,
    payload: bytes,
    is_last: bool = False,
    is_look: bool = False,
) -> bytes:
    """The whole binary form of a frame."""
    header = EntryHeader(
        EntryKind.FRAME, 0, sequence, capture_s, codec, is_last, len(payload), is_look
    )
    return pack_entry(header, payload) + payload


def unpack_frame(data: bytes | memoryview, *, position: int) -> JournalEntry | None:
    """Read what `pack_frame` wrote. None where it is damaged, or was written by a later version."""
    entry = unpack_entry(memoryview(data))
    if entry is None or entry[0].kind is not EntryKind.FRAME:
        return None
    header, payload = entry
    return JournalEntry(
        position,
        header.sequence,
        header.capture_s,
        header.codec,
        header.is_last,
        bytes(payload),
        header.is_look,
    )


def unpack_entry(view: memoryview) -> tuple[EntryHeader, memoryview] | None:
    """Read the entry at the start of `view`. Returns its header and payload, or None when no whole
    and undamaged entry stands there."""
    if len(view) < HEADER_BYTES:
        return None
    magic, kind, codec, flags, size, number, sequence, capture_s = _FIELDS.unpack(
        view[: _FIELDS.size]
    )
    if magic != MAGIC or size > MAX_PAYLOAD_BYTES or len(view) < HEADER_BYTES + size:
        return None
    payload = view[HEADER_BYTES : HEADER_BYTES + size]
    if _digest(view[: _FIELDS.size], payload) != bytes(view[_FIELDS.size : HEADER_BYTES]):
        return None
    try:
        header = EntryHeader(
            kind=EntryKind(kind),
            number=number,
            sequence=sequence,
            capture_s=capture_s,
            codec=Codec(codec),
            is_last=bool(flags & _LAST_FLAG),
            payload_bytes=size,
            is_look=bool(flags & _LOOK_FLAG),
        )
    except ValueError:  # undamaged, but written by a later version
        return None
    return header, payload


def _digest(fields: bytes | memoryview, payload: bytes | memoryview) -> bytes:
    digest = xxhash.xxh3_128(fields)
    digest.update(payload)
    return digest.digest()
