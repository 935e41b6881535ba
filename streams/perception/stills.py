"""Whole pictures: JPEG, PNG and WebP to RGB pixels of the engine's size."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from onlooker.core.exif import exif_orientation
from onlooker.core.media import Codec, DropReason, Pixels
from onlooker.core.orientation import Orientation
from onlooker.streams.perception.gate import Thumbnail, thumbnail
from onlooker.streams.perception.jpeg_end import with_end
from onlooker.streams.perception.plain_jpegs import decode_plain
from onlooker.streams.perception.scaler import Scaler

FORMATS = {Codec.JPEG: ("JPEG",), Codec.PNG: ("PNG",), Codec.WEBP: ("WEBP",)}


class Undecodable(Exception):
    """A message that yields no picture; `reason` says why."""

    def __init__(self, reason: DropReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def decode_still(
    payload: bytes,
    codec: Codec,
    *,
    width: int,
    height: int,
    max_pixels: int,
    on_header: Callable[[int], None] = lambda num_pixels: None,
) -> Pixels:
    """Decode one picture, turn it upright and squash it to `width` x `height`. A JPEG that lacks
    only its end is decoded all the same.

    Size limits are checked in the header, before memory for pixels is taken. `on_header` is told
    how many pixels it says there are, before they are decoded.

    Raises:
        Undecodable: TOO_LARGE over `max_pixels`, UNDECODABLE for broken or foreign bytes.
    """
    with _opened(payload, codec, max_pixels=max_pixels, on_header=on_header) as stored:
        return stored.pixels(width, height, Scaler())


def decode_and_reduce(
    payload: bytes,
    codec: Codec,
    *,
    width: int,
    height: int,
    max_pixels: int,
    scaler: Scaler,
    is_needed: Callable[[Thumbnail], bool] = lambda seen: True,
    on_header: Callable[[int], None] = lambda num_pixels: None,
) -> tuple[Pixels | None, Thumbnail]:
    """As `decode_still`, with the thumbnail that a gate sees. `scaler`: one that is kept for many
    pictures. `is_needed`: whether the pixels of a picture with this thumbnail are wanted at all."""
    with _opened(payload, codec, max_pixels=max_pixels, on_header=on_header) as stored:
        seen = stored.plain_thumbnail(width, height, scaler)
        if seen is not None and not is_needed(seen):
            return None, seen
        pixels = stored.pixels(width, height, scaler)
        if seen is None:
            seen = thumbnail(pixels)
            return pixels if is_needed(seen) else None, seen
        return pixels, seen


@dataclass(slots=True)
class _Stored:
    """A picture as it is stored."""

    payload: bytes
    image: Image.Image
    orientation: Orientation
    _plain: VideoFrame | None = None
    """What libav made of it."""
    _is_decoded: bool = False
    """Whether it was tried to have libav decode it."""

    def pixels(self, width: int, height: int, scaler: Scaler) -> Pixels:
        if self.orientation.is_transposed:  # stored on its side
            width, height = height, width
        self._decode(width, height)
        image = self.image
        if self._plain is not None:
            pixels = scaler.rgb(self._plain, width, height)
        else:
            image.load()  # now: what already has the wanted size is handed on as it is
            pixels = np.asarray(squash(_as_rgb(image), width, height), dtype=np.uint8)
        return np.ascontiguousarray(self.orientation.upright(pixels))

    def plain_thumbnail(self, width: int, height: int, scaler: Scaler) -> Thumbnail | None:
        """The thumbnail of the picture at `width` x `height`, where it is to be had without its
        pixels."""
        is_on_its_side = self.orientation.is_transposed
        self._decode(*((height, width) if is_on_its_side else (width, height)))
        if self._plain is None:
            return None
        return scaler.upright_thumbnail(self._plain, self.orientation, width, height)

    def _decode(self, width: int, height: int) -> None:
        """Have libav decode it, where that is possible, for a picture of this size as it is
        stored."""
        if self._is_decoded:
            return
        self._is_decoded = True
        image, size = self.image, self.image.size
        # JPEG can be decoded at 1/2, 1/4 or 1/8 for a fraction of the work; twice the wanted size
        # keeps the averaging below exact enough.
        image.draft("RGB", (width * 2, height * 2))
        if isinstance(image, JpegImageFile) and image.size == size:
            self._plain = decode_plain(self.payload, image)


@contextmanager
def _opened(
    payload: bytes, codec: Codec, *, max_pixels: int, on_header: Callable[[int], None]
) -> Iterator[_Stored]:
    """A picture whose header was read. Whatever is raised while it is open is `Undecodable`."""
    try:
        data = with_end(payload) if codec is Codec.JPEG else payload
        with Image.open(io.BytesIO(data), formats=FORMATS[codec]) as image:
            if image.width * image.height > max_pixels:
                raise Undecodable(DropReason.TOO_LARGE, f"{image.width} x {image.height} pixels")
            on_header(image.width * image.height)
            yield _Stored(payload, image, exif_orientation(image) or Orientation())
    except Undecodable:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Undecodable(DropReason.TOO_LARGE, str(error)) from error
    except Exception as error:  # decoders raise anything on broken bytes; none of it is ours
        raise Undecodable(DropReason.UNDECODABLE, f"{codec.name}: {error}") from error


def encode_png(pixels: Pixels) -> bytes:
    """Encode without loss, and hardly compress: speed counts more than size here."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def squash(image: Image.Image, width: int, height: int) -> Image.Image:
    """Bring an RGB picture to `width` x `height`, whatever its shape: area averages where it
    shrinks, linear interpolation where it grows."""
    if image.size == (width, height):
        return image
    shrinks = image.width >= width and image.height >= height
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return image.resize((width, height), method)


def _as_rgb(image: Image.Image) -> Image.Image:
    """`image` in RGB. What can be seen through is drawn on white, as a browser shows it: below
    transparent pixels there often is black, on which a black drawing would vanish."""
    if image.mode.startswith("I"):  # 16 bits a pixel; a plain conversion would clip to white
        high_bytes = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255)
        return Image.fromarray(high_bytes.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        drawn = image.convert("RGBA")
        ground = Image.new("RGBA", drawn.size, "white")
        return Image.alpha_composite(ground, drawn).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
