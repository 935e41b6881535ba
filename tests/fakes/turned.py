"""Video that is coded on its side, upside down or mirrored, and says so."""

import io
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import av
import numpy as np
from PIL import Image

from onlooker.core.media import Pixels
from tests.fakes.pictures import FMP4, WEBM, encode

CORNERS = ((220, 20, 20), (20, 220, 20), (20, 20, 220), (220, 220, 220))
"""Colours of the corners as they are to be seen: top left, top right, bottom left, bottom right."""

LYING = [(turn, mirrored) for turn, mirrored in product((0, 90, 180, 270), (False, True))]
"""The eight ways to lie: the turn by which the picture is to be shown, in degrees counterclockwise,
and whether it is to be mirrored after that."""

KINDS = {
    "mp4": ("mp4", "libx264", {}),
    "mov": ("mov", "libx264", {}),
    "mkv": ("matroska", "libx264", {}),
    "webm": ("webm", "libvpx", WEBM),
    "fmp4": ("mp4", "libx264", FMP4),
}


def upright_picture() -> Pixels:
    """What is to be seen: each quarter has the colour of its corner. 160 x 96."""
    picture = np.zeros((96, 160, 3), np.uint8)
    picture[:48, :80], picture[:48, 80:], picture[48:, :80], picture[48:, 80:] = CORNERS
    return picture


def corners(pixels: Pixels) -> list[tuple[int, int, int]]:
    """Which of `CORNERS` is nearest to each corner of a picture, a little inside."""
    rows, columns = pixels.shape[0] // 8, pixels.shape[1] // 8
    return [
        min(CORNERS, key=lambda colour: int(np.abs(np.subtract(colour, corner, dtype=int)).sum()))
        for row in (rows, -rows)
        for corner in (pixels[row, columns], pixels[row, -columns])
    ]


def turned_video(kind: str, turn: int, *, is_mirrored: bool, num: int = 20) -> bytes:
    """`num` pictures at 10 fps that lie as said. They stand upright when they are turned and then
    mirrored."""
    form, codec, options = KINDS[kind]
    stored = upright_picture()
    stored = stored[:, ::-1] if is_mirrored else stored
    stored = np.ascontiguousarray(np.rot90(stored, -turn // 90))
    target = io.BytesIO()
    with av.open(target, "w", format=form, options=options) as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.height, stream.width = stored.shape[:2]
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", 10
        stream.set_display_rotation(turn, hflip=is_mirrored)
        for index in range(num):
            frame = av.VideoFrame.from_ndarray(stored, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


EXIF_STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda seen: seen,
    2: lambda seen: seen[:, ::-1],
    3: lambda seen: seen[::-1, ::-1],
    4: lambda seen: seen[::-1],
    5: lambda seen: seen.swapaxes(0, 1),
    6: lambda seen: np.rot90(seen, 1),
    7: lambda seen: seen[::-1, ::-1].swapaxes(0, 1),
    8: lambda seen: np.rot90(seen, -1),
}
"""How a picture is stored that says each of the eight values of EXIF."""


def turned_jpeg(orientation: int) -> bytes:
    """The upright picture as a JPEG that says in its EXIF data how it lies."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(EXIF_STORED[orientation](upright_picture()))
    return encode(stored, exif=exif, quality=95)


def turned_jpegs_in_avi(orientation: int, *, num: int = 20) -> bytes:
    """`num` such pictures at 10 fps, in a container as old cameras write it."""
    target = io.BytesIO()
    stored = EXIF_STORED[orientation](upright_picture())
    with av.open(target, "w", format="avi") as container:
        stream: Any = container.add_stream("mjpeg", rate=10)
        stream.height, stream.width = stored.shape[:2]
        stream.pix_fmt = "yuvj420p"
        for index in range(num):
            packet = av.Packet(turned_jpeg(orientation))
            packet.stream, packet.is_keyframe = stream, True
            packet.pts = packet.dts = index
            packet.time_base = Fraction(1, 10)
            container.mux(packet)
    return target.getvalue()


def says_it_is_turned(chunk: bytes, turn: int) -> bytes:
    """An H.264 message with a note that its pictures, and those after it, are to be shown turned by
    so many degrees counterclockwise, as some cameras send it."""
    bits = f"000{turn * 65536 // 360:016b}01001"  # not mirrored; the turn; it holds on
    note = bytes([6, 47, 3]) + int(bits, 2).to_bytes(3, "big") + b"\x80"
    at = chunk.index(b"\x00\x00\x01\x65")  # in front of the picture
    return chunk[:at] + b"\x00\x00\x01" + note + chunk[at:]
