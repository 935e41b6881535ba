import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from onlooker.core.media import Codec, DropReason, Pixels
from onlooker.streams.perception.stills import Undecodable, decode_still
from tests.fakes.pictures import encode, make_pixels
from tests.fakes.turned import CORNERS, corners, turned_jpeg

LIMIT = 4096 * 4096


def decode(payload: bytes, codec: Codec = Codec.JPEG, *, max_pixels: int = LIMIT) -> Pixels:
    return decode_still(payload, codec, width=64, height=64, max_pixels=max_pixels)


def bomb_png(width: int = 30_000, height: int = 30_000) -> bytes:
    """A picture of 900 million pixels in about a megabyte."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = bytes(1 + width * 3)
    data = b"".join(packer.compress(row) for _ in range(300)) + packer.flush()
    padding = chunk(b"tEXt", b"x\0" + bytes(900_000))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + padding
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("codec", [Codec.JPEG, Codec.PNG, Codec.WEBP])
def test_each_still_codec_comes_out_in_the_engines_size_and_colour(codec: Codec) -> None:
    pixels = decode(encode(make_pixels((200, 40, 90), width=320, height=180), codec.name), codec)
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int).mean(axis=(0, 1)) - (200, 40, 90)).max() < 4


@pytest.mark.parametrize("codec", [Codec.JPEG, Codec.PNG, Codec.WEBP])
def test_a_picture_that_has_the_engines_size_already_is_taken_as_it_is(codec: Codec) -> None:
    pixels = decode(encode(make_pixels((200, 40, 90), width=64, height=64), codec.name), codec)
    assert pixels.shape == (64, 64, 3)
    assert np.abs(pixels.astype(int).mean(axis=(0, 1)) - (200, 40, 90)).max() < 4


def test_a_decompression_bomb_is_refused_by_its_header_without_taking_memory() -> None:
    payload = bomb_png()
    tracemalloc.start()
    try:
        with pytest.raises(Undecodable) as caught:
            decode(payload, Codec.PNG)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.reason is DropReason.TOO_LARGE
    assert peak_bytes < 20_000_000


def test_a_picture_just_over_the_pixel_limit_is_too_large_and_one_at_it_is_not() -> None:
    payload = encode(make_pixels(width=101, height=100))
    with pytest.raises(Undecodable) as caught:
        decode(payload, max_pixels=10_099)
    assert caught.value.reason is DropReason.TOO_LARGE
    assert decode(payload, max_pixels=10_100).shape == (64, 64, 3)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not a picture at all",
        b"\xff\xd8\xff\xe0" + bytes(200),
        encode(make_pixels())[:-300],
        encode(make_pixels(), "PNG")[:60],
        encode(make_pixels(), "WEBP")[:40],
    ],
)
@pytest.mark.parametrize("codec", [Codec.JPEG, Codec.PNG, Codec.WEBP])
def test_broken_bytes_are_undecodable(payload: bytes, codec: Codec) -> None:
    with pytest.raises(Undecodable) as caught:
        decode(payload, codec)
    assert caught.value.reason is DropReason.UNDECODABLE


def test_a_picture_of_another_type_than_announced_is_undecodable() -> None:
    with pytest.raises(Undecodable):
        decode(encode(make_pixels(), "PNG"), Codec.JPEG)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stored_turned_comes_out_upright(orientation: int) -> None:
    pixels = decode(turned_jpeg(orientation))
    assert corners(pixels) == list(CORNERS)


def test_shrinking_averages_areas_rather_than_picking_points() -> None:
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    pixels = decode(encode(stripes, "PNG"), Codec.PNG)
    assert np.abs(pixels.astype(int) - 127).max() <= 1


def test_sixteen_bit_grey_keeps_its_shades() -> None:
    grey = Image.fromarray(np.full((64, 64), 0x8000, dtype=np.uint16))
    assert abs(int(decode(encode(grey, "PNG"), Codec.PNG)[0, 0, 0]) - 128) <= 1


def _drawing(mode: str) -> Image.Image:
    """A black square in the middle of a transparent ground that is black below."""
    drawing = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    drawing.paste((0, 0, 0, 255), (24, 24, 40, 40))
    return drawing.convert(mode)


@pytest.mark.parametrize(
    ("codec", "mode"),
    [(Codec.PNG, "RGBA"), (Codec.PNG, "LA"), (Codec.PNG, "P"), (Codec.WEBP, "RGBA")],
)
def test_a_drawing_on_a_transparent_ground_can_be_seen(codec: Codec, mode: str) -> None:
    options = {"lossless": True} if codec is Codec.WEBP else {}
    pixels = decode(encode(_drawing(mode), codec.name, **options), codec)
    assert pixels[2, 2].tolist() == [255, 255, 255]
    assert pixels[32, 32].tolist() == [0, 0, 0]


def test_what_is_half_transparent_is_mixed_with_the_ground() -> None:
    glass = Image.new("RGBA", (64, 64), (255, 0, 0, 128))
    pixels = decode(encode(glass, "PNG"), Codec.PNG)
    assert pixels[4, 4].tolist() == pytest.approx([255, 127, 127], abs=2)


def test_a_colour_that_stands_for_transparent_is_transparent() -> None:
    picture = Image.new("RGB", (64, 64), (0, 255, 0))
    pixels = decode(encode(picture, "PNG", transparency=(0, 255, 0)), Codec.PNG)
    assert pixels[4, 4].tolist() == [255, 255, 255]
