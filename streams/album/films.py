"""Contact sheets and films of an album's pictures: JPEG, WebP and MP4."""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from onlooker.cache_store.album import AlbumPicture, PictureFacts

FilmFormat = Literal["mp4", "webp"]

QUALITY = 75
BAND_HEIGHT = 16
"""Pixels below each picture of a contact sheet, for its time."""

Caption = Callable[[PictureFacts], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmLook:
    """How a contact sheet or a film is to look."""

    columns: int = 4
    """Pictures side by side on a contact sheet."""
    fps: float = 4.0
    """Pictures a second of a film."""
    format: FilmFormat = "mp4"
    caption: Caption = lambda facts: f"{facts.start_s:g} s"
    """What is written below a picture of a contact sheet."""

    @property
    def media_type(self) -> str:
        """Of the film."""
        return "video/mp4" if self.format == "mp4" else "image/webp"


def contact_sheet(pictures: Sequence[AlbumPicture], *, look: FilmLook) -> bytes:
    """All pictures on one, row by row, each with its caption; JPEG. At least one picture."""
    images = [_opened(one) for one in pictures]
    width, height = max(one.width for one in images), max(one.height for one in images)
    columns = min(look.columns, len(images))
    cell = height + BAND_HEIGHT
    sheet = Image.new("RGB", (columns * width, math.ceil(len(images) / columns) * cell), "black")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for index, (image, picture) in enumerate(zip(images, pictures, strict=True)):
        left, top = index % columns * width, index // columns * cell
        sheet.paste(image, (left, top))
        draw.text((left + 4, top + height), look.caption(picture.facts), fill="white", font=font)
    data = io.BytesIO()
    sheet.save(data, "JPEG", quality=QUALITY)
    return data.getvalue()


def film(pictures: Sequence[AlbumPicture], *, look: FilmLook) -> bytes:
    """The pictures one after the other, as MP4 (H.264) or animated WebP. At least one picture;
    those of another size than the first are brought to it."""
    images = [_opened(one) for one in pictures]
    return _mp4(images, look.fps) if look.format == "mp4" else _webp(images, look.fps)


def _webp(images: Sequence[Image.Image], fps: float) -> bytes:
    size = images[0].size
    first, *others = [one if one.size == size else one.resize(size) for one in images]
    data = io.BytesIO()
    duration_ms = max(1, round(1000 / fps))
    first.save(
        data,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=duration_ms,
        quality=QUALITY,
        method=0,
    )
    return data.getvalue()


def _mp4(images: Sequence[Image.Image], fps: float) -> bytes:
    width, height = (max(2, side - side % 2) for side in images[0].size)  # H.264 takes even ones
    data = io.BytesIO()
    ticks = 1000
    with av.open(data, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=max(1, round(fps)))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "26", "threads": "1"}
        stream.codec_context.time_base = stream.time_base = Fraction(1, ticks)
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(
                np.asarray(image.resize((width, height))), format="rgb24"
            )
            frame.pts = round(index * ticks / fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return data.getvalue()


def _opened(picture: AlbumPicture) -> Image.Image:
    with Image.open(io.BytesIO(picture.data), formats=("JPEG", "WEBP")) as image:
        return image.convert("RGB")
