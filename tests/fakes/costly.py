"""Small inputs that cost a decoder far more than they should."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""First column and row, and steps, of each pass of an interlaced PNG (Adam7)."""


def endless_jpeg(num_scans: int = 4000, *, side: int = 2048) -> bytes:
    """A progressive JPEG of one colour whose last scan comes again and again."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * num_scans + data[-2:]


def animation(kind: str, num_pictures: int, *, side: int = 8) -> bytes:
    """A GIF or WebP of so many pictures."""
    rng, buffer = np.random.default_rng(1), io.BytesIO()
    pictures = [
        Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8))
        for _ in range(num_pictures)
    ]
    pictures[0].save(buffer, kind, save_all=True, append_images=pictures[1:])
    return buffer.getvalue()


def interlaced_png(*, side: int) -> bytes:
    """A black PNG in seven passes, which Pillow reads and does not write."""
    rows = bytearray()
    for x, y, step_x, step_y in PASSES:
        width, height = -(-(side - x) // step_x), -(-(side - y) // step_y)
        if width > 0 and height > 0:
            rows += bytes(1 + 3 * width) * height
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(name, data)
        for name, data in ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b""))
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
