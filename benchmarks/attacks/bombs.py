"""Small inputs that make much work: pictures, animations and JSON, made on the spot."""

import io
import json
import struct
import zlib

import numpy as np
from PIL import Image

from onlooker.core.media import Codec

START_OF_SCAN = b"\xff\xda"
END_OF_IMAGE = b"\xff\xd9"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2))  # fmt: skip
"""First column, first row and the two steps of each pass of an interlaced PNG."""


def repeated_scans(times: int = 400, *, side: int = 1024) -> bytes:
    """A progressive JPEG whose last scan comes `times` times; every scan is work for all pixels."""
    rows = np.arange(side, dtype=np.uint16)
    shades = ((rows[:, None] * 3 + rows[None, :] * 5) // 32 % 256).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(np.dstack([shades, shades.T, shades])).save(
        out, "JPEG", quality=30, progressive=True
    )
    picture = out.getvalue()
    last = picture.rindex(START_OF_SCAN)
    scan = picture[last : picture.rindex(END_OF_IMAGE)]
    return picture[:last] + scan * times + END_OF_IMAGE


def endless_scans(times: int = 8000, *, side: int = 2048) -> bytes:
    """The same of one colour, so that a scan is a hundred bytes: FFmpeg takes seconds for it."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(out, "JPEG", progressive=True)
    picture = out.getvalue()
    last, end = picture.rindex(START_OF_SCAN), picture.rindex(END_OF_IMAGE)
    return picture[:last] + picture[last:end] * times + END_OF_IMAGE


def huge_still(codec: Codec) -> bytes:
    """A small file whose header claims the most pixels that its format can say."""
    out = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(out, codec.name)
    picture = bytearray(out.getvalue())
    if codec is Codec.PNG:
        picture[16:24] = struct.pack(">II", 60_000, 60_000)
        picture[29:33] = struct.pack(">I", zlib.crc32(picture[12:29]))
    elif codec is Codec.JPEG:
        start = picture.index(b"\xff\xc0") + 5
        picture[start : start + 4] = struct.pack(">HH", 65_500, 65_500)
    else:
        start = picture.index(b"\x9d\x01\x2a") + 3
        picture[start : start + 4] = struct.pack("<HH", 16_383, 16_383)
    return bytes(picture)


def interlaced_png(side: int = 4096) -> bytes:
    """An interlaced PNG of `side` by `side` pixels in 64 bits each, all zero."""
    header = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 1)
    packer = zlib.compressobj(9)
    packed = b""
    for column, row, across, down in ADAM7:
        width, height = -(-(side - column) // across), -(-(side - row) // down)
        packed += packer.compress(bytes(height * (1 + 8 * width)))
    packed += packer.flush()
    return PNG_SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def long_animation(frames: int = 10_000, *, side: int = 512) -> bytes:
    """A WebP of `frames` pictures, each `side` by `side`."""
    out = io.BytesIO()
    pictures = [Image.new("RGB", (side, side), colour) for colour in ("red", "blue")]
    pictures[0].save(
        out, "WEBP", save_all=True, append_images=pictures[1:], lossless=True, duration=10
    )
    chunks = _riff_chunks(out.getvalue()[12:])
    picture = next(data for name, data in chunks if name == b"ANMF")
    body = b"WEBP" + b"".join(
        _riff(name, data) for name, data in chunks if name in (b"VP8X", b"ANIM")
    )
    body += _riff(b"ANMF", picture) * frames
    return b"RIFF" + struct.pack("<I", len(body)) + body


def unknown_fields(num_bytes: int, **known: object) -> str:
    """A JSON object of about `num_bytes` whose fields are all unknown, but for `known`."""
    each = len('"f000000":0,')
    fields = ",".join(f'"f{index:06}":0' for index in range(num_bytes // each))
    head = json.dumps(known)[1:-1]
    return "{" + ",".join(part for part in (head, fields) if part) + "}"


def deep_nest(depth: int = 100_000, *, opening: str = "[", closing: str = "]") -> str:
    """JSON with `depth` containers inside each other."""
    return opening * depth + closing * depth


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _riff(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _riff_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 0
    while at + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, at + 4)
        found.append((data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return found
