"""Pictures into bytes: JPEG from arrays, and what a frame's own bytes say they are."""

import io

from PIL import Image

from onlooker.core.errors import UnsupportedMedia
from onlooker.core.media import Codec, Pixels

JPEG_QUALITY = 85


def encode_jpeg(pixels: Pixels, cover: tuple[int, int] | None = None) -> bytes:
    """The JPEG bytes of a picture, uint8[height, width, 3] in RGB.

    `cover` is the largest (width, height) that the server can use: a larger picture is made smaller
    until it just covers that, its shape kept.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype.name != "uint8":
        raise UnsupportedMedia(
            "a frame as an array is uint8[height, width, 3] in RGB; this one is "
            f"{pixels.dtype.name}{list(pixels.shape)}"
        )
    picture = Image.fromarray(pixels)
    if cover is not None:
        scale = max(cover[0] / picture.width, cover[1] / picture.height)
        if scale < 1.0:
            size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
            picture = picture.resize(size, Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def guess_codec(payload: bytes) -> Codec:
    """The codec of a still picture, from its first bytes.

    Raises:
        UnsupportedMedia: it is no JPEG, PNG or WebP; video chunks must name their codec.
    """
    if payload[:3] == b"\xff\xd8\xff":
        return Codec.JPEG
    if payload[:8] == b"\x89PNG\r\n\x1a\n":
        return Codec.PNG
    if payload[:4] == b"RIFF" and payload[8:12] == b"WEBP":
        return Codec.WEBP
    raise UnsupportedMedia(
        "these bytes are no JPEG, PNG or WebP picture; for video chunks pass codec=Codec.…"
    )
