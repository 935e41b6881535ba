"""The binary form of a record, and the one place where bytes from outside are believed or not.

    0   magic "OLKV" | version u16 | 0 u16 | header bytes u32 | index bytes u32
    16  payload bytes u64 | 0 (8 bytes)
    32  payload digest (16 bytes)
    48  head digest (16 bytes): over bytes 0-47, header and index with their padding
    64  header, JSON, padded with spaces    to a multiple of 64
        index row, padded with zeros        to a multiple of 64
        payload: the KV as its codec wrote it

Little-endian. Two digests, so that an index row can be checked without reading the KV; between
them they cover every byte. They are XXH3-128: a 32-bit CRC would pass one damaged record in four
billion, which a Redis shared by a fleet reaches, and BLAKE2 takes fifty times as long, which would
make the checksum the slowest part of a load. Neither digest is meant to resist a forger: whoever
may write to the store is trusted.
"""

import struct
from dataclasses import dataclass, replace
from typing import NamedTuple

import xxhash

from onlooker.cache_store.codecs.base import Buffer, KvCodec
from onlooker.cache_store.codecs.table import CODECS, RAW
from onlooker.cache_store.errors import NotEncodable, RecordCorrupt, RecordForeign
from onlooker.cache_store.head import SegmentHead, head_from_json, head_to_json
from onlooker.cache_store.key import SegmentKey
from onlooker.cache_store.record import SegmentRecord

MAGIC = b"OLKV"
VERSION = 1
ALIGN = 64
PREFIX_BYTES = 64

_FIELDS = struct.Struct("<4sHHIIQ8x16s")
_MAX_HEADER_BYTES = 64 * 1024
_MAX_INDEX_BYTES = 1 << 28
_RESIDENT_OVERHEAD_BYTES = 1024
"""About what the Python objects of one record take, so that a budget of many tiny records holds."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedRecord:
    """A record as tiers pass it on: its head, which was checked, and its KV as the codec wrote it.

    Inside the process it is trusted; digests are made where it leaves (`seal`) and checked where it
    comes in (`unseal`).
    """

    head: SegmentHead
    payload: memoryview
    epoch: int | None = None
    """The ownership of its stream under which it was made, where streams have owners. It is no part
    of the binary form: what was read may be written again by whoever owns the stream then."""

    @property
    def key(self) -> SegmentKey:
        return self.head.key

    @property
    def resident_bytes(self) -> int:
        """Roughly the RAM that the record takes."""
        return self.payload.nbytes + self.head.index_row.nbytes + _RESIDENT_OVERHEAD_BYTES


def encode(record: SegmentRecord, codec: KvCodec = RAW) -> EncodedRecord:
    """Encode a record's KV. With the raw codec the payload is the record's own array, not a copy.

    Values that a lossy codec cannot hold (infinities, beyond float16's range) are kept raw.
    """
    record = record.frozen()
    try:
        payload = codec.encode(record.kv, record.dtype)
    except NotEncodable:
        codec = RAW
        payload = codec.encode(record.kv, record.dtype)
    head = SegmentHead(
        key=record.key,
        base=record.base,
        num_tokens=record.num_tokens,
        start_s=record.start_s,
        end_s=record.end_s,
        dtype=record.dtype,
        shape=record.kv.shape,
        codec=codec.name,
        index_row=record.index_row,
        meta=record.meta,
    )
    return EncodedRecord(head, memoryview(payload).cast("B"))


def decode(encoded: EncodedRecord) -> SegmentRecord:
    """The record with its KV in the original dtype; raw KV is a read-only view of the payload.

    Raises:
        RecordCorrupt: the payload is none of its codec. Only who made it with a right checksum can
            bring that about.
    """
    head = encoded.head
    kv = CODECS[head.codec].decode(encoded.payload, head.dtype, head.shape)
    kv.flags.writeable = False
    return SegmentRecord(
        key=head.key,
        base=head.base,
        num_tokens=head.num_tokens,
        start_s=head.start_s,
        end_s=head.end_s,
        dtype=head.dtype,
        kv=kv,
        index_row=head.index_row,
        meta=head.meta,
    )


def transcode(encoded: EncodedRecord, codec: KvCodec) -> EncodedRecord:
    """Encode a raw record with `codec`. What is already lossy stays as it is: coding it again would
    only add error."""
    if encoded.head.codec == codec.name or encoded.head.codec != RAW.name:
        return encoded
    return replace(encode(decode(encoded), codec), epoch=encoded.epoch)


def seal(encoded: EncodedRecord) -> tuple[bytes, memoryview]:
    """Return the two parts of the binary form; the record is their concatenation."""
    header = head_to_json(encoded.head)
    header += b" " * (-len(header) % ALIGN)
    row = encoded.head.index_row.tobytes()
    body = header + row + b"\0" * (-len(row) % ALIGN)
    fields = _FIELDS.pack(
        MAGIC,
        VERSION,
        0,
        len(header),
        len(row),
        encoded.payload.nbytes,
        xxhash.xxh3_128_digest(encoded.payload),
    )
    return b"".join((fields, xxhash.xxh3_128_digest(fields + body), body)), encoded.payload


def head_bytes_needed(prefix: Buffer) -> int:
    """How many bytes from the start hold the whole head, told by the first `PREFIX_BYTES`.

    Raises:
        RecordCorrupt, RecordForeign: these are not the first bytes of a record.
    """
    return _read_layout(memoryview(prefix)).head_bytes


def unseal_head(buffer: Buffer, key: SegmentKey, *, total_bytes: int) -> SegmentHead:
    """Check and read the head from a record's first bytes; see `unseal`.

    `total_bytes` is the size of the whole stored record, which must match the lengths in it.
    """
    view = memoryview(buffer).cast("B")
    return _unseal_head(view, _read_layout(view), key, total_bytes)


class PayloadDigest:
    """The digest of a record's payload, made while the record is being read, which spares going
    through all its bytes once more."""

    def __init__(self) -> None:
        self._hash = xxhash.xxh3_128()
        self._head_left: int | None = None
        """Bytes of the head that are still to come; None: not told yet."""

    def take(self, part: memoryview) -> None:
        """Take the next bytes of the record, the first of which hold all of its fixed fields.

        Raises:
            RecordCorrupt, RecordForeign: these are not the first bytes of a record.
        """
        if self._head_left is None:
            self._head_left = head_bytes_needed(part)
        payload = part[self._head_left :]
        self._head_left = max(0, self._head_left - len(part))
        if len(payload):
            self._hash.update(payload)

    def digest(self) -> bytes:
        """The digest of all that was taken."""
        return self._hash.digest()


def unseal(buffer: Buffer, key: SegmentKey, digest: bytes | None = None) -> EncodedRecord:
    """Check every byte of a stored record. The payload is a view of `buffer`.

    Args:
        digest: of the payload, where it is known already.

    Raises:
        RecordCorrupt: damaged or truncated.
        RecordForeign: a record, but not of `key`, or of a version or kind unknown here.
    """
    view = memoryview(buffer).cast("B")
    layout = _read_layout(view)
    head = _unseal_head(view, layout, key, len(view))
    payload = view[layout.head_bytes :].toreadonly()
    if (digest or xxhash.xxh3_128_digest(payload)) != layout.payload_digest:
        raise RecordCorrupt("the KV of a record does not match its checksum")
    return EncodedRecord(head, payload)


class _Layout(NamedTuple):
    """The layout of a record, as its first bytes tell it."""

    index_start: int
    index_end: int
    head_bytes: int
    payload_bytes: int
    payload_digest: bytes


def _read_layout(view: memoryview) -> _Layout:
    if len(view) < PREFIX_BYTES:
        raise RecordCorrupt(f"a record of {len(view)} bytes is shorter than any record")
    magic, version, zero, header_bytes, index_bytes, payload_bytes, digest = _FIELDS.unpack_from(
        view
    )
    if magic != MAGIC:
        raise RecordForeign("these bytes are not a record of a segment")
    if version != VERSION:
        raise RecordForeign(f"a record has format {version}, and this version reads {VERSION}")
    if zero or header_bytes > _MAX_HEADER_BYTES or index_bytes > _MAX_INDEX_BYTES:
        raise RecordCorrupt("the lengths in a record make no sense")
    start = PREFIX_BYTES + header_bytes
    end = start + index_bytes
    return _Layout(start, end, end + -index_bytes % ALIGN, payload_bytes, digest)


def _unseal_head(
    view: memoryview, layout: _Layout, key: SegmentKey, total_bytes: int
) -> SegmentHead:
    expected_bytes = layout.head_bytes + layout.payload_bytes
    if len(view) < layout.head_bytes or total_bytes != expected_bytes:
        raise RecordCorrupt(f"a record has {total_bytes} bytes and should have {expected_bytes}")
    signed = b"".join((view[:48], view[PREFIX_BYTES : layout.head_bytes]))
    if xxhash.xxh3_128_digest(signed) != view[48:64]:
        raise RecordCorrupt("the head of a record does not match its checksum")
    head = head_from_json(
        bytes(view[PREFIX_BYTES : layout.index_start]),
        view[layout.index_start : layout.index_end],
        key,
    )
    if head.codec not in CODECS:
        raise RecordForeign(f"a record has the unknown codec {head.codec!r}")
    least, most = CODECS[head.codec].payload_bounds(head.dtype, head.shape)
    if not least <= layout.payload_bytes <= most:
        raise RecordCorrupt("the KV of a record is not as long as its shape says")
    return head
