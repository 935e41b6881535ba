"""Pictures as JPEG."""

import io

from PIL import Image

from onlooker.core.errors import UnsupportedMedia
from onlooker.core.media import Pixels

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
